//@ src/bin/uppercase.rs
/// Sends a line, five times at most, until its answer comes. Each question has a number, which its answer brings back.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = format!("{} ", NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes();
    let question = [&number, line].concat();
    let mut datagram = [0; ANSWER + 21];
    for _ in 0..5 {
        socket.send(&question)?;
        let end = Instant::now() + Duration::from_millis(200);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let size = match socket.recv(&mut datagram) {
                Ok(size) => size,
                Err(e) if is_timeout(&e) => break,
                Err(e) => return Err(e),
            };
            // With its space, so that the answer to 12 is none to 1.
            if let Some(answer) = datagram[..size].strip_prefix(&number[..]) {
                return Ok(answer.to_vec());
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}
