//! Where things are in the checkout. Everything this tool writes goes below `target`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// A checkout of the project.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout that holds the current directory: the nearest parent whose `Cargo.toml` declares a workspace.
    ///
    /// # Errors
    /// Where no parent does.
    pub fn find() -> anyhow::Result<Self> {
        let start = std::env::current_dir().context("the current directory cannot be read")?;
        let root = start
            .ancestors()
            .find(|directory| {
                std::fs::read_to_string(directory.join("Cargo.toml"))
                    .is_ok_and(|text| text.lines().any(|line| line == "[workspace]"))
            })
            .with_context(|| format!("no Cargo workspace at {} or above it", start.display()))?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |directory| start.join(directory));
        Ok(Self { root, target })
    }

    /// The directory of the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo and this tool put what they make.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where tools that tests drive are kept.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where the parts' output is kept, one file a part.
    pub fn logs(&self) -> PathBuf {
        self.target.join("xtask").join("logs")
    }

    /// A `cargo` command at the root of the workspace, free of what the `cargo` that started this tool told it about its own package:
    /// build scripts that look at such variables would otherwise rebuild for nothing.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        for (name, _) in std::env::vars_os() {
            let told_by_cargo = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_")
                    || name.starts_with("CARGO_MANIFEST_")
                    || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE")
            });
            if told_by_cargo {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// What `cargo metadata` says of the workspace.
    ///
    /// # Errors
    /// Where cargo fails or answers something that is not JSON.
    pub fn metadata(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let text = crate::process::capture(self.cargo(&["metadata", "--format-version=1", "--locked"]).args(arguments))?;
        serde_json::from_str(&text).context("cargo metadata answered something that is not JSON")
    }
}
