//# the late answer to the question before
//@ src/bin/uppercase.rs
/// Asks again, but nothing tells which question an answer is for.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = [0; ANSWER];
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..5 {
        socket.send(line)?;
        match socket.recv(&mut answer) {
            Ok(size) => return Ok(answer[..size].to_vec()),
            Err(e) if is_timeout(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::TimedOut.into())
}
