//# have the same number
//@ src/bin/uppercase.rs
/// One number for all questions.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    let number = b"1 ";
    let question = [&number[..], line].concat();
    let mut answer = [0; ANSWER + 21];
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..5 {
        socket.send(&question)?;
        while let Ok(size) = socket.recv(&mut answer) {
            if let Some(text) = answer[..size].strip_prefix(&number[..]) {
                return Ok(text.to_vec());
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}
