//! The text files of the checkout, as the checks see them.

use std::path::Path;

use anyhow::Context as _;

/// What was made, not what was written.
const MADE: &[&str] = &[".git", "target", "cairn-data", "node_modules", "__pycache__"];

/// A text file of the checkout.
pub struct SourceFile {
    /// Its path below the root, with `/` between the names.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl SourceFile {
    /// Whether its name ends with this extension.
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }
}

/// The text files of the checkout, in the order of their paths.
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Reads the checkout at `root`; files that are not UTF-8 are not text and are left out.
    ///
    /// # Errors
    /// Where a directory or a file cannot be read.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let mut directories = vec![root.to_path_buf()];
        while let Some(directory) = directories.pop() {
            let entries = std::fs::read_dir(&directory).with_context(|| format!("{} cannot be read", directory.display()))?;
            for entry in entries {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                // In a second worktree `.git` is a file.
                if MADE.iter().any(|made| entry.file_name() == *made) {
                    continue;
                }
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() {
                    let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
                    if let (Ok(text), Ok(path)) = (String::from_utf8(bytes), path.strip_prefix(root)) {
                        files.push(SourceFile { path: path.to_string_lossy().into_owned(), text });
                    }
                }
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { files })
    }

    /// Every file.
    pub fn all(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.all().filter(|file| file.is("rs"))
    }

    /// Files made up by a test, in the order of their paths.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files.iter().map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect(),
        }
    }
}
