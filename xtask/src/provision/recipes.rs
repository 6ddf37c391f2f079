//! How each kind of tool is fetched and built. The clients of the registries keep the machine's environment: which registry they ask, and
//! whose certificates they trust, is for the machine to say.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;
use crate::steps::Context;

/// How a Go program of this tree is built: with the modules and sums that stand beside it, whatever the machine prefers.
pub const GO_FLAGS: &str = "-mod=readonly -trimpath -buildvcs=false";

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

/// Fetches these packages at the versions of a program's `go.mod`, and builds them: they stay in Go's cache, so that building the program
/// takes a second.
pub fn go_modules(context: &mut Context<'_>, directory: &Path, manifests: &[String], packages: &[&str]) -> anyhow::Result<()> {
    copy(context, directory, manifests)?;
    let mut command = Command::new("go");
    command.current_dir(directory).arg("build").args(packages).env("GOFLAGS", GO_FLAGS).env("CGO_ENABLED", "0");
    context.run(&mut command).context("it needs Go: https://go.dev/dl")
}

/// Fetches the libraries that a `pom.xml` requires, and those that they require.
pub fn maven(context: &mut Context<'_>, directory: &Path, project: &str) -> anyhow::Result<()> {
    let libraries = directory.join("libraries");
    // What an earlier version required must not stay among them.
    if libraries.exists() {
        std::fs::remove_dir_all(&libraries).context("the old libraries cannot be removed")?;
    }
    let mut command = Command::new("mvn");
    command
        .args(["--batch-mode", "--no-transfer-progress", "--strict-checksums", "--file"])
        .arg(context.workspace.root().join(project).join("pom.xml"))
        .arg(format!("-Dmaven.repo.local={}", directory.join("repository").display()))
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", libraries.display()));
    context.run(&mut command).context("it needs Maven and a JDK (Debian: maven, openjdk-17-jdk-headless)")?;
    // The programs run with the libraries alone; what fetched them is many times that.
    std::fs::remove_dir_all(directory.join("repository")).context("the repository cannot be removed")
}

/// Installs the packages of a lock file, and runs nothing of theirs.
pub fn npm(context: &mut Context<'_>, directory: &Path, manifests: &[String]) -> anyhow::Result<()> {
    copy(context, directory, manifests)?;
    let mut command = Command::new("npm");
    command.current_dir(directory).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]);
    context.run(&mut command).context("it needs Node 20 with npm: https://nodejs.org")
}

/// Copies files of the tree into a directory.
fn copy(context: &Context<'_>, directory: &Path, files: &[String]) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    for file in files {
        let from = context.workspace.root().join(file);
        let name = from.file_name().context("a file has a name")?;
        std::fs::copy(&from, directory.join(name)).with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    Ok(())
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
