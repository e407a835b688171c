//@ src/bin/uppercase.rs
/// Exercise 1: a question that survives the loss of datagrams.
///
/// Sends a line and gives its answer. As it stands here, one lost datagram is enough to fail. Keep these rules:
///
/// - Each question has a number that no other question of this program has. It stands before the line: `7 hello`. The
///   server sends back what it gets, in upper case: `7 HELLO`. The answer is given without the number: `HELLO`. (The
///   line may begin with digits or spaces itself, and it may be empty.)
/// - No answer within 200 ms: send the question again, *with the same number*. When it was sent five times, and 200 ms
///   have passed after each, give up with an error of the kind `ErrorKind::TimedOut`.
/// - What comes with another number is ignored. It is late, or it came twice. It may also be no answer at all, so be
///   ready for any bytes.
/// - What is ignored makes no try longer: 200 ms are 200 ms, however much comes meanwhile.
///
/// `socket` is connected: `send` goes to the server. `socket.set_read_timeout(Some(time))` sets how long `recv` waits
/// at most; a time of zero is an error. `is_timeout(&e)` says whether `recv` has waited for too long. An answer has at
/// most `ANSWER` bytes, and its number comes on top. The line and its number together must not be longer than `LINE`,
/// which is what the server takes: very long lines have to wait for another exercise.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(line)?;
    let mut answer = [0; ANSWER];
    let size = socket.recv(&mut answer)?;
    Ok(answer[..size].to_vec())
}
