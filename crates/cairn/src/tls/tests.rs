use rcgen::{CertificateParams, KeyPair};

use super::*;

struct Scene {
    directory: tempfile::TempDir,
    files: Files,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = Files { certificate: at("chain.pem"), key: at("key.pem"), client_authority: None };
        Self { directory, files }
    }

    /// A certificate and its key, PEM.
    fn issue(until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(&self.files.certificate, certificate).unwrap();
        std::fs::write(&self.files.key, key).unwrap();
    }

    fn load(&self) -> Certificates {
        Certificates::load(Purpose::S3 { http2: true }, self.files.clone()).unwrap()
    }
}

/// How often it was replaced and failed, and whether it is stale.
fn counts(certificates: &Certificates) -> (u64, u64, bool) {
    let status = certificates.status();
    (status.replaced, status.failed, status.is_stale)
}

#[test]
fn what_has_changed_is_read_anew_and_what_has_not_is_not() {
    let scene = Scene::new();
    let (certificate, key) = Scene::issue(2040);
    scene.write(&certificate, &key);
    let certificates = scene.load();
    let first = certificates.in_force();
    assert_eq!(first.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(certificates.status().not_after_seconds, Some(2_208_988_800));
    // The same again, written anew.
    scene.write(&certificate, &key);
    assert!(Arc::ptr_eq(&first, &certificates.current()) && Arc::ptr_eq(&first, &certificates.look(true)));
    let (certificate, key) = Scene::issue(2041);
    scene.write(&certificate, &key);
    assert!(Arc::ptr_eq(&first, &certificates.in_force()), "nobody has looked");
    let second = certificates.current();
    assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &certificates.in_force()));
    assert_eq!(counts(&certificates), (1, 0, false));
    assert_eq!(certificates.status().not_after_seconds, Some(2_240_611_200));
}

#[test]
fn what_cannot_be_used_replaces_nothing() {
    let scene = Scene::new();
    let (certificate, key) = Scene::issue(2040);
    scene.write(&certificate, &key);
    let certificates = scene.load();
    let first = certificates.in_force();
    let (other, other_key) = Scene::issue(2041);
    let stays = || Arc::ptr_eq(&first, &certificates.current());

    // One of the two has been replaced.
    scene.write(&other, &key);
    assert!(stays() && stays());
    assert_eq!(counts(&certificates), (0, 1, true), "told once");
    // Half written.
    scene.write(&other[..other.len() / 2], &other_key);
    assert!(stays());
    scene.write("", &other_key);
    assert!(stays());
    assert_eq!(counts(&certificates), (0, 3, true));
    // Gone, and a directory in its place.
    std::fs::remove_file(&scene.files.certificate).unwrap();
    assert!(stays() && stays());
    assert_eq!(counts(&certificates), (0, 4, true));
    std::fs::create_dir(&scene.files.certificate).unwrap();
    assert!(stays());
    assert!(Arc::ptr_eq(&first, &certificates.look(true)));
    assert_eq!(counts(&certificates), (0, 5, true), "who asks is told again");
    std::fs::remove_dir(&scene.files.certificate).unwrap();
    // Put right.
    scene.write(&other, &other_key);
    assert!(!stays());
    assert_eq!(counts(&certificates), (1, 5, false));
    drop(scene.directory);
}

#[test]
fn what_was_in_force_before_something_broken_may_come_back() {
    let scene = Scene::new();
    let (certificate, key) = Scene::issue(2040);
    scene.write(&certificate, &key);
    let certificates = scene.load();
    scene.write("broken", &key);
    certificates.current();
    assert_eq!(counts(&certificates), (0, 1, true));
    scene.write(&certificate, &key);
    certificates.current();
    assert_eq!(counts(&certificates), (1, 1, false));
    // Gone for a moment, and back as it was.
    std::fs::remove_file(&scene.files.certificate).unwrap();
    certificates.current();
    assert!(certificates.status().is_stale);
    scene.write(&certificate, &key);
    certificates.current();
    assert!(!certificates.status().is_stale);
}
