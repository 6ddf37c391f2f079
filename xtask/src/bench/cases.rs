//! What is measured: each operation at each number of connections, and how the load generator is told.

use std::fmt;

use anyhow::bail;

/// Every operation, in the order of the table.
const CASES: &[Operation] = &[Operation::Put4K, Operation::Get4K, Operation::List, Operation::Put10M, Operation::Get10M];
/// How many objects reads read and listings list.
pub const SMALL_OBJECTS: u64 = 200_000;
/// How many are stored to see that each stands three times, where none is read.
pub const COPIED_OBJECTS: u64 = 2000;
/// Bytes of a large object.
const LARGE_BYTES: u64 = 10 << 20;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// `PutObject` of 4 KiB under a new key.
    Put4K,
    /// `GetObject` of 4 KiB.
    Get4K,
    /// A page of 1,000 keys by `ListObjectsV2`.
    List,
    /// `PutObject` of 10 MiB under a new key.
    Put10M,
    /// `GetObject` of 10 MiB.
    Get10M,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Put4K => "put-4k",
            Self::Get4K => "get-4k",
            Self::List => "list",
            Self::Put10M => "put-10m",
            Self::Get10M => "get-10m",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Put4K => "PUT 4 KiB",
            Self::Get4K => "GET 4 KiB",
            Self::List => "LIST 1,000 keys",
            Self::Put10M => "PUT 10 MiB",
            Self::Get10M => "GET 10 MiB",
        }
    }

    /// Whether its objects are small.
    pub fn is_small(self) -> bool {
        self.bytes() < LARGE_BYTES
    }

    fn bytes(self) -> u64 {
        if matches!(self, Self::Put10M | Self::Get10M) { LARGE_BYTES } else { 4096 }
    }

    /// How many objects there are to read, or may be stored at most: that bounds the disk that is held.
    pub fn objects(self, connections: usize) -> u64 {
        match self {
            Self::Put4K => u64::MAX,
            Self::Get4K | Self::List => SMALL_OBJECTS,
            Self::Put10M => (2 * connections as u64).clamp(48, 128),
            Self::Get10M => 32,
        }
    }
}

/// An operation at a number of connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Case {
    /// What is asked for.
    pub operation: Operation,
    /// By how many connections at once.
    pub connections: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}@{}", self.operation.name(), self.connections))
    }
}

/// The cases that are asked for; all operations where none is named.
///
/// # Errors
/// Where an operation is named that does not exist.
pub fn select(only: &[String], connections: &[usize]) -> anyhow::Result<Vec<Case>> {
    for name in only {
        if !CASES.iter().any(|operation| operation.name() == name) {
            bail!("there is no operation {name:?}; there are {}", names());
        }
    }
    let wanted = CASES.iter().filter(|operation| only.is_empty() || only.iter().any(|name| name == operation.name()));
    Ok(wanted
        .flat_map(|&operation| connections.iter().map(move |&connections| Case { operation, connections: connections.max(1) }))
        .collect())
}

fn names() -> String {
    CASES.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
}

/// What the load generator is told to do.
pub struct Load {
    arguments: Vec<String>,
    must_succeed: bool,
}

impl Load {
    fn new(command: &str, must_succeed: bool) -> Self {
        Self { arguments: vec![command.to_owned()], must_succeed }
    }

    fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.arguments.extend([format!("--{name}"), value.to_string()]);
        self
    }

    /// Creates the bucket.
    pub fn create_bucket() -> Self {
        Self::new("create-bucket", false)
    }

    /// Stores what this operation reads: small objects by many connections, because there are many.
    pub fn prepare(operation: Operation, objects: u64) -> Self {
        Self::new("put", true)
            .with("prefix", "read/")
            .with("bytes", operation.bytes())
            .with("objects", objects)
            .with("connections", if operation.is_small() { 64 } else { 8 })
    }

    /// Stores a few large objects that nobody reads.
    pub fn warm_up() -> Self {
        Self::new("put", true).with("prefix", "warm/").with("bytes", LARGE_BYTES).with("objects", 4).with("connections", 2)
    }

    /// What a case measures. New keys are new in every round, and what is read at random is not what was read in the rounds before.
    pub fn measured(case: Case, seconds: f64, round: usize) -> Self {
        let Case { operation, connections } = case;
        let load = match operation {
            Operation::Put4K | Operation::Put10M => {
                Self::new("put", false).with("prefix", format_args!("written-{connections}-{round}/"))
            }
            Operation::Get4K | Operation::Get10M => Self::new("get", false).with("prefix", "read/"),
            Operation::List => Self::new("list", false).with("prefix", "read/"),
        };
        let load = load.with("bytes", operation.bytes()).with("objects", operation.objects(connections));
        load.with("connections", connections).with("seconds", seconds).with("seed", round + 1)
    }

    /// The load generator's arguments, without the service.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Whether every request must succeed for the bench to go on.
    pub fn must_succeed(&self) -> bool {
        self.must_succeed
    }
}
