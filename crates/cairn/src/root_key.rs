//! The root key: taken from the environment, or made once and kept in a file that only its owner can read.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cairn_disk::Random;
use cairn_store::administration::Credentials;

use crate::serve::ServeError;

const ID_VARIABLE: &str = "CAIRN_ROOT_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "CAIRN_ROOT_SECRET_ACCESS_KEY";
const FILE_NAME: &str = "root-credentials";

/// The root key and where it is kept.
pub struct RootKey {
    /// Both halves.
    pub credentials: Credentials,
    /// The file; `None` when it came from the environment.
    pub file: Option<PathBuf>,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Takes the root key from the environment, else from the data directory; `None` where it is in neither.
pub fn load(data: &Path) -> Result<Option<RootKey>, ServeError> {
    match (std::env::var(ID_VARIABLE), std::env::var(SECRET_VARIABLE)) {
        (Ok(id), Ok(secret)) => {
            let credentials = Credentials::existing(&id, &secret).map_err(|error| {
                ServeError(format!("the root key in {ID_VARIABLE} and {SECRET_VARIABLE} cannot be used: {error}"))
            })?;
            return Ok(Some(RootKey { credentials, file: None, is_new: false }));
        }
        (Err(_), Err(_)) => {}
        _ => return Err(ServeError(format!("set both {ID_VARIABLE} and {SECRET_VARIABLE}, or neither"))),
    }
    let file = data.join(FILE_NAME);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let credentials = parse(&text).ok_or_else(|| {
                ServeError(format!("{} is not a root key. Restore it, or remove it to have a new root key made.", file.display()))
            })?;
            Ok(Some(RootKey { credentials, file: Some(file), is_new: false }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServeError(format!("the root key {} cannot be read: {error}", file.display()))),
    }
}

/// Makes a root key and keeps it in the data directory. The file has the form that AWS tools read (`AWS_SHARED_CREDENTIALS_FILE`).
pub fn make(data: &Path, random: &dyn Random) -> Result<RootKey, ServeError> {
    let file = data.join(FILE_NAME);
    let credentials = Credentials::generate(random);
    write(&file, &credentials)
        .map_err(|error| ServeError(format!("the root key cannot be kept in {}: {error}", file.display())))?;
    Ok(RootKey { credentials, file: Some(file), is_new: true })
}

pub(crate) fn parse(text: &str) -> Option<Credentials> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(own, value)| (own.trim() == name).then(|| value.trim()))
    };
    Credentials::existing(value("aws_access_key_id")?, value("aws_secret_access_key")?).ok()
}

/// What [`parse`] reads.
pub(crate) fn text(credentials: &Credentials) -> String {
    format!(
        "# The root key of this Cairn store: it opens everything. AWS tools read it by AWS_SHARED_CREDENTIALS_FILE.\n[default]\n\
         aws_access_key_id = {}\naws_secret_access_key = {}\n",
        credentials.access_key_id,
        String::from_utf8_lossy(credentials.secret.expose())
    )
}

fn write(file: &Path, credentials: &Credentials) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut output = options.open(&temporary)?;
    output.write_all(text(credentials).as_bytes())?;
    output.sync_all()?;
    std::fs::rename(&temporary, file)?;
    std::fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_line_that_only_begins_like_one_of_the_key_is_passed_over() {
        let secret = "0123456789abcdef";
        let file = format!("aws_access_key_id_of_before = OLD\naws_access_key_id = NEW\naws_secret_access_key = {secret}\n");
        assert_eq!(parse(&file).unwrap().access_key_id, "NEW");
    }

    #[test]
    fn a_root_key_is_made_once_and_only_its_owner_can_read_it() {
        let data = std::env::temp_dir().join(format!("cairn-root-key-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let random = cairn_disk::SystemRandom::new();
        assert!(load(&data).unwrap().is_none());
        let made = make(&data, &random).unwrap();
        let again = load(&data).unwrap().unwrap();
        assert!(made.is_new && !again.is_new);
        assert_eq!(made.credentials.access_key_id, again.credentials.access_key_id);
        assert_eq!(made.credentials.secret.expose(), again.credentials.secret.expose());
        let mode = std::fs::metadata(data.join("root-credentials")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(data.join("root-credentials"), "nothing").unwrap();
        assert!(load(&data).is_err());
        std::fs::remove_dir_all(&data).unwrap();
    }
}
