//! How each kind of tool is fetched and built. The clients of the registries keep the machine's environment: which registry they ask, and
//! whose certificates they trust, is for the machine to say.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;
use crate::steps::Context;

/// Builds a program of the Rust registry with the dependencies it was released with.
pub fn cargo(context: &mut Context<'_>, package: &str, version: &str) -> anyhow::Result<()> {
    let tools = context.workspace.tools();
    let mut command = context.workspace.cargo(&["install", "--locked", "--version", version, package, "--root"]);
    // Its own directory, so that it neither waits for the workspace's builds nor leaves anything among them.
    command.arg(&tools).env("CARGO_TARGET_DIR", tools.join("build").join(package));
    context.run(&mut command)?;
    // What is left of the build is many times the program.
    std::fs::remove_dir_all(tools.join("build").join(package)).context("the build directory cannot be removed")
}

/// Makes a virtual environment with these packages.
pub fn python(context: &mut Context<'_>, environment: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(environment);
    context
        .run(&mut make)
        .context("no virtual environment could be made; it needs python3 with its module venv (Debian: python3-venv)")?;
    let mut install = Command::new(environment.join("bin").join("python"));
    install.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]).args(packages);
    context.run(&mut install)
}

/// Builds a program of a Go module.
///
/// It is required by a module of our own, and not installed by name and version: that asks the registry only for what is built, not for
/// what else there is and whether the author has withdrawn it.
pub fn go(context: &mut Context<'_>, module: &str, package: &str, version: &str, program: &str) -> anyhow::Result<()> {
    let tools = context.workspace.tools();
    let own = tools.join("go").join(program);
    std::fs::create_dir_all(&own)?;
    std::fs::write(own.join("go.mod"), format!("module tools/{program}\n\ngo 1.24\n\nrequire {module} {version}\n"))?;
    let mut command = Command::new("go");
    command
        .current_dir(&own)
        .args(["build", "-o"])
        .arg(tools.join("bin").join(program))
        .arg(format!("{module}{package}"))
        .env("GOFLAGS", "-mod=mod -trimpath -buildvcs=false")
        .env("CGO_ENABLED", "0");
    context.run(&mut command).context("it needs Go: https://go.dev/dl")
}

/// Installs what is missing of these Debian packages.
pub fn debian(context: &mut Context<'_>, packages: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return context.say("installed already");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root may install it: apt-get install {}", missing.join(" "));
    }
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    install.args(&missing);
    if context.run(&mut install).is_ok() {
        return Ok(());
    }
    // The lists of packages may be old, or not there at all.
    context.run(&mut apt(&["update"]))?;
    context.run(&mut install)
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn installed(package: &str) -> bool {
    process::capture(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}
