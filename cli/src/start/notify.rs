//! What the service manager is told, by the protocol of sd_notify(3): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// How this process is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Ready,
    Stopping,
}

impl State {
    const fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells the service manager, where one started this.
pub(super) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, "the service manager cannot be told that this node is {state:?}");
    }
}

fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A manager that does not read must not hold a node up.
    sender.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return sender.send_to_addr(state.message(), &address).map(|_| ());
    }
    sender.send_to(state.message(), socket).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_at_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), State::Ready).unwrap();
        send(path.as_os_str(), State::Stopping).unwrap();
        let mut buffer = [0u8; 64];
        for expected in ["READY=1", "STOPPING=1"] {
            let bytes = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..bytes], expected.as_bytes());
        }
        drop(manager);
        assert!(send(path.as_os_str(), State::Ready).is_err());
    }
}
