//# the answer that came twice
//@ src/bin/uppercase.rs
/// Writes numbers, and takes any off again without a look at it.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    use std::sync::atomic::{AtomicU64, Ordering};

    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let question = [format!("{number} ").as_bytes(), line].concat();
    let mut answer = [0; ANSWER + 21];
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..5 {
        socket.send(&question)?;
        match socket.recv(&mut answer) {
            Ok(size) => {
                let text = &answer[..size];
                let behind = text.iter().position(|&byte| byte == b' ').map_or(0, |space| space + 1);
                return Ok(text[behind..].to_vec());
            }
            Err(e) if is_timeout(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::TimedOut.into())
}
