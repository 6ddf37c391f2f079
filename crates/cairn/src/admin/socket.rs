//! The Unix socket `DIR/admin.sock`: who may use it, and how it is reached however long the path is.
//!
//! Three things keep others out (K2): the data directory, which is made with mode 0700; the socket's own mode, 0600; and the kernel's word
//! on who is at the other end, which must be the user that serves, or root. So no token has to be kept on any disk.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::caller::Caller;
use super::connections;
use super::error::ApiError;
use super::{Admin, routes};
use crate::admin::api::FailureCode;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The longest path that a socket's address holds: `sun_path` has 108 bytes, the last is 0 (unix(7)).
const ADDRESS_LENGTH_MAX: usize = 107;
/// The most connections at a time.
const CONNECTIONS_MAX: usize = 32;

/// Whether a user may administer a service that runs as `own_uid`.
fn is_allowed(uid: u32, own_uid: u32) -> bool {
    uid == own_uid || uid == 0
}

/// A path to the socket that fits into an address. It leads there for as long as this lives.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET_NAME);
        if path.as_os_str().len() <= ADDRESS_LENGTH_MAX {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(SOCKET_NAME);
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// The listening socket.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens in a data directory, whose lock must be held: whatever has the socket's name there is left over from a process that ended, and
    /// is replaced.
    pub fn bind(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET_NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&Address::of(directory)?.path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves until `stop` holds true, and removes the socket. The data directory's lock must be held until then.
    pub async fn run(self, admin: Arc<Admin>, mut stop: watch::Receiver<bool>) {
        let own_uid = rustix::process::geteuid().as_raw();
        let slots = connections::slots(CONNECTIONS_MAX);
        while let Some((slot, (stream, _))) = connections::next(&slots, || self.listener.accept(), &mut stop).await {
            let (admin, stop) = (admin.clone(), stop.clone());
            tokio::spawn(async move {
                serve(admin, stream, own_uid, stop).await;
                drop(slot);
            });
        }
        let _ = std::fs::remove_file(&self.path);
        connections::all_closed(&slots, CONNECTIONS_MAX).await;
    }
}

async fn serve(admin: Arc<Admin>, stream: UnixStream, own_uid: u32, stop: watch::Receiver<bool>) {
    let (uid, pid) = match stream.peer_cred() {
        Ok(credentials) => (credentials.uid(), credentials.pid()),
        Err(error) => {
            tracing::warn!(%error, "a connection to the administration socket is refused: the kernel does not say whose it is");
            return;
        }
    };
    let is_allowed = is_allowed(uid, own_uid);
    if !is_allowed {
        tracing::warn!(uid, pid, "a connection to the administration socket is refused");
    }
    let handler = |request| {
        let admin = admin.clone();
        async move {
            if is_allowed {
                return routes::answer(&admin, Caller::Local { uid, pid }, request).await;
            }
            let message = format!("user {uid} may not administer this service: only user {own_uid} and root may");
            let error = ApiError::new(FailureCode::Forbidden, message);
            connections::json(error.status(), &error.failure())
        }
    };
    connections::serve(stream, None, stop, handler).await;
}

/// Connects to the service that serves from a data directory.
pub async fn connect(directory: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&Address::of(directory)?.path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    // K2: the peer's user is checked.
    #[test]
    fn only_the_serving_user_and_root_may_administer() {
        assert!(is_allowed(1000, 1000));
        assert!(is_allowed(0, 1000));
        assert!(!is_allowed(1001, 1000));
        assert!(!is_allowed(65534, 1000));
        assert!(!is_allowed(1000, 0), "nobody but root administers root's service");
    }

    #[tokio::test]
    async fn a_socket_is_reached_however_long_its_path_is_and_an_old_one_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d".repeat(120));
        std::fs::create_dir(&directory).unwrap();
        // What a process that was killed leaves behind.
        drop(std::os::unix::net::UnixListener::bind(Address::of(&directory).unwrap().path).unwrap());
        assert_eq!(connect(&directory).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        let listener = Listener::bind(&directory).unwrap();
        let mode = std::fs::metadata(directory.join(SOCKET_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (client, server) = tokio::join!(connect(&directory), listener.listener.accept());
        let peer = server.unwrap().0.peer_cred().unwrap();
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        drop(client.unwrap());

        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(listener.run(Admin::new([]), stopped));
        stop.send_replace(true);
        running.await.unwrap();
        assert_eq!(connect(&directory).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
