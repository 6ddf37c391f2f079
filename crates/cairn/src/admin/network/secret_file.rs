//! Files with secrets: read only where nobody else can read or change them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The longest file with secrets, bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Which files may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular files: they can be read again.
    Regular,
    /// Pipes, too, such as a shell's `<(…)`.
    OrPipe,
}

/// Reads a file with secrets; in words why not.
pub fn read(path: &Path, kind: Kind) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut options = File::options();
    options.read(true);
    if kind == Kind::Regular {
        // Opening a pipe would wait for somebody who writes.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let is_pipe = metadata.file_type().is_fifo();
    if !(metadata.is_file() || is_pipe && kind == Kind::OrPipe) {
        return Err(format!("{} is not a file", path.display()));
    }
    if !is_pipe {
        let own = rustix::process::geteuid().as_raw();
        check(Owned::of(&metadata), own).map_err(|words| format!("{} {words}", path.display()))?;
    }
    let mut text = Zeroizing::new(String::with_capacity(metadata.len().min(FILE_BYTES_MAX) as usize + 1));
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is longer than {} KiB", path.display(), FILE_BYTES_MAX >> 10));
    }
    Ok(text)
}

/// Whose a file is, and who may do what with it.
#[derive(Debug, Clone, Copy)]
struct Owned {
    uid: u32,
    mode: u32,
}

impl Owned {
    fn of(metadata: &Metadata) -> Self {
        Self { uid: metadata.uid(), mode: metadata.mode() & 0o777 }
    }
}

/// Only who reads it, and root, may read or change it. Where root owns it and another user reads it, that is by its group, as Kubernetes
/// mounts secrets for users other than root.
fn check(file: Owned, own: u32) -> Result<(), String> {
    let Owned { uid, mode } = file;
    if uid != own && uid != 0 {
        return Err(format!("belongs to user {uid}; it must belong to the user who reads it ({own}) or to root"));
    }
    let forbidden = if uid == own { 0o077 } else { 0o037 };
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(format!("can be read or changed by others (its mode is {mode:04o}): chmod 600 it, and replace what others may have read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_read_or_change_is_not_read() {
        let allowed = |uid, mode, own| check(Owned { uid, mode }, own).is_ok();
        for mode in [0o400, 0o600, 0o700] {
            assert!(allowed(1000, mode, 1000) && allowed(0, mode, 0) && allowed(0, mode, 1000), "{mode:o}");
        }
        assert!(allowed(0, 0o440, 1000) && !allowed(0, 0o440, 0) && !allowed(1000, 0o440, 1000));
        for mode in [0o604, 0o602, 0o601, 0o620, 0o610, 0o460, 0o644, 0o666] {
            assert!(!allowed(1000, mode, 1000) && !allowed(0, mode, 1000) && !allowed(0, mode, 0), "{mode:o}");
        }
        assert!(!allowed(1001, 0o600, 1000) && !allowed(1001, 0o600, 0));
    }

    #[test]
    fn only_files_of_some_length_are_read() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("secret");
        std::fs::write(&file, "s3cr3t").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(&**read(&file, Kind::Regular).unwrap(), "s3cr3t");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let words = read(&file, Kind::Regular).unwrap_err();
        assert!(words.contains("mode is 0644") && words.contains("chmod 600") && !words.contains("s3cr3t"), "{words}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "x".repeat((64 << 10) + 1)).unwrap();
        assert!(read(&file, Kind::Regular).unwrap_err().contains("longer than 64 KiB"));
        std::fs::write(&file, b"\xff").unwrap();
        assert!(read(&file, Kind::Regular).is_err());
        assert!(read(root.path(), Kind::OrPipe).unwrap_err().contains("is not a file"));
        assert!(read(&root.path().join("missing"), Kind::Regular).unwrap_err().contains("cannot be read"));

        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe, Kind::Regular).unwrap_err().contains("is not a file"), "a pipe must not be waited for");
    }
}
