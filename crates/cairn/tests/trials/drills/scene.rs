//! A store with objects in it, and what one does to its directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_testkit::s3_client::{S3Request, path};
use md5::{Digest, Md5};

use crate::connection::Connection;
use crate::seed;
use crate::service::{Home, Service, ZONES, remove};

/// How long a word may take to be said.
const WORDS_MAX: Duration = Duration::from_secs(30);

/// A store on which one drill is done.
pub struct Scene {
    pub home: Home,
    seed: u64,
    /// What was acknowledged: keys, and the numbers and lengths of their bodies.
    objects: BTreeMap<String, (u64, usize)>,
    /// The life that each zone must be in.
    pub lives: [u64; 3],
    number: u64,
}

impl Scene {
    /// A new store with objects of every size: in the log, in one chunk, in more than one.
    pub async fn new(drill: &str) -> (Self, Service) {
        let home = Home::new(drill);
        let service = Service::start(&home).await;
        let mut scene = Self { home, seed: seed::of_run(drill), objects: BTreeMap::new(), lives: [1; 3], number: 0 };
        let made = Connection::new(service.root.clone()).send(&S3Request::new("PUT", path("drill", ""))).await.unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
        scene.write(&service, "first", &[0, 10, 4000, 70_000, 300_000, 9_000_000]).await;
        service.until_whole(scene.lives).await;
        (scene, service)
    }

    /// Writes objects of these sizes, which must be acknowledged at once, whatever state the zones are in.
    pub async fn write(&mut self, service: &Service, name: &str, lengths: &[usize]) {
        let mut connection = Connection::new(service.root.clone());
        for length in lengths {
            self.number += 1;
            let key = format!("{name}/{length}");
            let put = S3Request::new("PUT", path("drill", &key)).body(seed::body(self.seed, self.number, *length));
            let answer = connection.send(&put).await.unwrap();
            assert_eq!(answer.status, 200, "{key}: {}", answer.text());
            self.objects.insert(key, (self.number, *length));
        }
    }

    /// Reads everything that was acknowledged, every byte.
    pub async fn read(&self, service: &Service) {
        let mut connection = Connection::new(service.root.clone());
        for (key, (number, length)) in &self.objects {
            let answer = connection.send(&S3Request::new("GET", path("drill", key))).await;
            let answer = answer.unwrap_or_else(|error| panic!("{key}: {error}\n{}", self.home.log()));
            assert_eq!(answer.status, 200, "{key}: {}", answer.text());
            assert!(answer.body == seed::body(self.seed, *number, *length), "{key} has other bytes");
        }
        let listed = connection.send(&S3Request::new("GET", path("drill", "")).query("list-type", "2")).await.unwrap();
        assert_eq!(listed.elements("Key"), self.objects.keys().cloned().collect::<Vec<_>>());
    }

    /// Everything is there, `zone status` says that the store is whole again, and it is: each zone has as many chunks as the others, and
    /// [`Scene::stands_alone`].
    pub async fn whole_in_three(&self, service: Service, drilled: usize) {
        self.read(&service).await;
        service.until_whole(self.lives).await;
        let status = service.status().await;
        let counts: Vec<_> = status["zones"].as_array().unwrap().iter().map(|zone| zone["chunks"]["count"].clone()).collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{status:#}");
        self.stands_alone(service, drilled).await;
    }

    /// With every chunk of the other two zones damaged, everything is read from this one.
    pub async fn stands_alone(&self, service: Service, drilled: usize) {
        service.stop().await;
        for other in (0..3).filter(|other| *other != drilled) {
            assert!(flip(&self.home.zone(other).join("segments"), 16 << 10) > 100);
        }
        let service = Service::start(&self.home).await;
        self.read(&service).await;
        service.stop().await;
    }

    /// Waits until the log of the service has words.
    pub async fn until_logged(&self, words: &str) {
        let end = tokio::time::Instant::now() + WORDS_MAX;
        while !self.home.log().contains(words) {
            assert!(tokio::time::Instant::now() < end, "never said: {words}\n{}", self.home.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `cairn admin zone status` has words; what it says then.
    pub async fn until_status(&self, words: &str) -> String {
        let end = tokio::time::Instant::now() + WORDS_MAX;
        loop {
            let text = self.home.admin("zone status");
            if text.contains(words) {
                return text;
            }
            assert!(tokio::time::Instant::now() < end, "never said: {words}\n{text}\n{}", self.home.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts a directory in the place of another.
pub fn replace(directory: &Path, by: &Path) {
    remove(directory);
    std::fs::rename(by, directory).unwrap();
}

/// What the files below a directory hold: two of these are equal only if no byte and no name has changed. Sockets are left out.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Option<[u8; 16]>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.insert(entry.path(), None);
            found.extend(contents(&entry.path()));
        } else if kind.is_file() {
            found.insert(entry.path(), Some(Md5::digest(std::fs::read(entry.path()).unwrap()).into()));
        }
    }
    found
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    contents(directory).into_iter().filter(|(_, digest)| digest.is_some()).map(|(path, _)| path).collect()
}

/// Flips a bit in the middle of each run of bytes that are not zero and as long as this, in all files below a directory. Says how many.
pub fn flip(directory: &Path, run: usize) -> usize {
    let mut flipped = 0;
    for file in files(directory) {
        let mut bytes = std::fs::read(&file).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for piece in bytes[..written].chunks_exact_mut(run) {
            piece[run / 2] ^= 0x10;
            flipped += 1;
        }
        std::fs::write(&file, bytes).unwrap();
    }
    flipped
}

/// Flips one bit in the middle of what was written to the fullest file below a directory: of a byte that is not zero, for between
/// frames there are zeros that mean nothing.
pub fn flip_one_bit(directory: &Path) {
    let written = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default()
    };
    let file = files(directory).into_iter().max_by_key(written).unwrap();
    let (middle, mut bytes) = (written(&file) / 2, std::fs::read(&file).unwrap());
    *bytes[middle..].iter_mut().find(|byte| **byte != 0).unwrap() ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
}

/// The zone of this name's place in the list.
pub fn zone(name: &str) -> usize {
    ZONES.iter().position(|zone| *zone == name).unwrap()
}
