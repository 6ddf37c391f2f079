//! The AWS SDKs for Go, Java and JavaScript, by the test programs in `tests/sdk`. Each stores a tree of files that this part made and
//! brings it back, and the comparison byte for byte is made here.

mod report;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::page::Page;
use super::service::{DOMAIN, Keys, Scheme};
use super::tree;
use super::{Suite, fresh_directory, with_each_scheme};
use crate::process::Streams;
use crate::provision::{SDK_JAVA, SDK_JAVASCRIPT, recipes};
use crate::steps::{Context, Counts};

/// The SDK for Go 2.
pub fn go(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let program = context.workspace.target().join("e2e").join("sdk-go.test");
    let mut build = Command::new("go");
    build
        .current_dir(context.workspace.root().join("tests").join("sdk").join("go"))
        .args(["test", "-c", "-o"])
        .arg(&program)
        .env("GOFLAGS", recipes::GO_FLAGS)
        .env("CGO_ENABLED", "0");
    context.run(&mut build).context("the test program does not build")?;
    with_each_scheme(context, |suite| {
        let program = suite.context.workspace.target().join("e2e").join("sdk-go.test");
        let mut command = suite.command(&program);
        command.arg("-test.v");
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("AWS_CA_BUNDLE", authority);
        }
        run(suite, command, report::of_go)
    })
}

/// The SDK for Java 2.
pub fn java(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let libraries = SDK_JAVA.program(&context.workspace.tools()).join("*");
    let classes = context.workspace.target().join("e2e").join("sdk-java");
    fresh_directory(&classes)?;
    let sources = context.workspace.root().join("tests").join("sdk").join("java").join("src").join("test").join("java");
    let mut build = Command::new("javac");
    build.args(["-Xlint:all,-processing", "-Werror", "--release", "17", "-d"]).arg(&classes).arg("--class-path").arg(&libraries);
    build.args(files_below(&sources)?);
    context.run(&mut build).context("the test program does not build; it needs a JDK (Debian: openjdk-17-jdk-headless)")?;
    with_each_scheme(context, |suite| {
        let target = suite.context.workspace.target();
        let classes = target.join("e2e").join("sdk-java");
        let class_path =
            format!("{}:{}", classes.display(), SDK_JAVA.program(&suite.context.workspace.tools()).join("*").display());
        let mut command = suite.command(&in_path("java")?);
        command.env("CAIRN_TEST_DOMAIN", DOMAIN);
        let page = Page::open(suite, "sdk-java.md", &in_path("keytool")?)?;
        page.run_for_scheme(suite, "trust")?;
        page.was_run()?;
        if suite.service.scheme() == Scheme::Https {
            command.args(["-Djavax.net.ssl.trustStore=authorities.p12", "-Djavax.net.ssl.trustStorePassword=changeit"]);
        }
        command.args(["-XX:+UseSerialGC", "-Xshare:auto", "--class-path", &class_path]);
        command.args(["org.junit.platform.console.ConsoleLauncher", "execute", "--disable-banner", "--disable-ansi-colors"]);
        command.args(["--details=tree", "--fail-if-no-tests", "--scan-classpath"]).arg(&classes);
        run(suite, command, report::of_junit)
    })
}

/// The SDK for JavaScript 3.
pub fn javascript(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    with_each_scheme(context, |suite| {
        // Modules are looked for beside the program and above it, so it runs from a place that has them beside it.
        let program = suite.directory("program")?;
        let workspace = suite.context.workspace;
        for file in files_below(&workspace.root().join("tests").join("sdk").join("javascript"))? {
            if file.extension().is_some_and(|extension| extension == "mjs") {
                let name = file.file_name().context("a file has a name")?;
                std::fs::copy(&file, program.join(name))?;
            }
        }
        std::os::unix::fs::symlink(SDK_JAVASCRIPT.program(&workspace.tools()), program.join("node_modules"))?;
        let mut command = suite.command(&in_path("node")?);
        command.args(["--test", "--test-reporter=tap"]).current_dir(&program);
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("NODE_EXTRA_CA_CERTS", authority);
        }
        run(suite, command, report::of_tap)
    })
}

/// Runs a test program over a tree of files, and counts its tests by its report.
fn run(suite: &mut Suite<'_, '_>, mut command: Command, count: fn(&str) -> Option<Counts>) -> anyhow::Result<()> {
    let (tree, back) = (suite.directory("tree")?, suite.directory("back")?);
    tree::write(&tree, suite.size, 6)?;
    command
        .env("AWS_ENDPOINT_URL_S3", suite.service.endpoint())
        .env("AWS_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY)
        .env("AWS_REGION", "us-east-1")
        // Without it, an SDK that finds no key would ask the cloud that it is not in.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("CAIRN_TEST_MEDIUM_BYTES", suite.size.medium_bytes.to_string())
        .env("CAIRN_TEST_TREE", &tree)
        .env("CAIRN_TEST_BACK", &back);
    let report = suite.scratch.join("report");
    let ended = suite.stream(&mut command, Streams::to_log(&File::create(&report)?)?);
    let text = String::from_utf8_lossy(&std::fs::read(&report)?).into_owned();
    suite.context.say(&text)?;
    match (ended, count(&text)) {
        (Err(error), None | Some(Counts { failed: 0, .. })) => return Err(error),
        (_, None) => bail!("the report does not say how many tests ran"),
        (_, Some(counts)) => {
            ensure!(counts.passed + counts.failed > 0, "no test ran");
            suite.counts = suite.counts.and(counts);
        }
    }
    suite.check("the tree that came back is the one that went up, byte for byte", |_| tree::same(&tree, &back))
}

/// The files below a directory, with their paths.
fn files_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(tree::files(directory)?.into_keys().map(|path| directory.join(path)).collect())
}

/// A program where the machine has it: its tests are started with another path.
fn in_path(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not there"))
}
