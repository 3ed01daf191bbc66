//! Standard streams joined to a Unix socket.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The variable whose value is the first line sent.
const TOKEN: &str = "FAPO_SESSION_TOKEN";

/// Sends the token and then standard input; writes what comes back to standard output, until the other side closes.
pub(super) fn bridge(socket: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", socket.display());
    let stream = UnixStream::connect(socket).map_err(failed)?;
    let token = std::env::var_os(TOKEN).unwrap_or_default();
    let mut upward = stream.try_clone().map_err(failed)?;
    upward
        .write_all(token.as_encoded_bytes())
        .and_then(|()| upward.write_all(b"\n"))
        .map_err(failed)?;
    let sender = std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        // A failure here is the other side's end, which the reader below meets too.
        let _ = std::io::copy(&mut input, &mut upward);
        let _ = upward.shutdown(Shutdown::Write);
    });
    let mut downward = stream;
    let copied = pump(&mut downward);
    // The process ends here even if its input stays open: nobody is left to hear what would come.
    drop(sender);
    copied.map_err(failed)
}

/// Copies with a flush after each piece: a line must not wait for the next.
fn pump(from: &mut impl std::io::Read) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                output.write_all(&piece[..read])?;
                output.flush()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
