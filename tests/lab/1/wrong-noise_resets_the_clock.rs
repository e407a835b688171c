//# Does each of them make the try longer
//@ src/bin/uppercase.rs
/// Right but for one thing: each datagram that it ignores gives the try another 200 ms.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = format!("{} ", NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes();
    let question = [&number, line].concat();
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
