//# a repeat has the number of its question
//@ src/bin/uppercase.rs
/// A number for each datagram: the answer to the first try is thrown away once the second is on its way.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut answer = [0; ANSWER + 21];
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..5 {
        let number = format!("{} ", NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes();
        socket.send(&[&number, line].concat())?;
        while let Ok(size) = socket.recv(&mut answer) {
            if let Some(text) = answer[..size].strip_prefix(&number[..]) {
                return Ok(text.to_vec());
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}
