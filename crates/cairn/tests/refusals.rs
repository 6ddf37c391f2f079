//! What a person reads when the service cannot start: what is wrong, what to do next, and an exit code that scripts can tell apart. Nothing
//! is made that was not there.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// How it ended.
struct Refused {
    code: Option<i32>,
    words: String,
}

/// Runs `cairn serve`, which must end by itself.
fn serve(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Refused {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.arg("serve").args(arguments).current_dir(directory).envs(variables.iter().copied());
    for name in ["CAIRN_CONFIG", "CAIRN_DATA", "CAIRN_LISTEN", "CAIRN_ROOT_ACCESS_KEY_ID", "CAIRN_ROOT_SECRET_ACCESS_KEY"] {
        if variables.iter().all(|(given, _)| *given != name) {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    Refused { code: output.status.code(), words: String::from_utf8(output.stderr).unwrap() }
}

fn assert_says(refused: &Refused, code: i32, parts: &[&str]) {
    assert_eq!(refused.code, Some(code), "{}", refused.words);
    assert!(!refused.words.contains("panicked"), "{}", refused.words);
    for part in parts {
        assert!(refused.words.contains(part), "it does not say {part:?}: {}", refused.words);
    }
}

#[test]
fn a_command_line_that_is_wrong_is_put_right_in_words() {
    let root = tempfile::tempdir().unwrap();
    let serve = |arguments: &[&str]| serve(root.path(), arguments, &[]);
    assert_says(&serve(&["--lisen", "127.0.0.1:0"]), 2, &["--lisen", "--listen"]);
    assert_says(&serve(&["--listen", "localhost:9000"]), 2, &["IP:PORT", "127.0.0.1:9000"]);
    assert_says(&serve(&["--max-object-size", "5TiB"]), 2, &["a number of bytes"]);
    assert_says(&serve(&["--tls-cert", "chain.pem"]), 2, &["--tls-key"]);
    assert_says(&serve(&["--zone", "geneva"]), 2, &["NAME=DIR"]);
    assert_says(&serve(&["--zone", "geneva=a", "--zone", "gland=b"]), 1, &["three times, or never", "2 times"]);
    assert_says(
        &serve(&["--zone", "geneva=a", "--zone", "gland=a", "--zone", "lucerne=b"]),
        1,
        &["geneva and gland must differ", "--zone NAME=DIR"],
    );
    assert_says(&serve(&["--tls-cert", "chain.pem", "--tls-key", "key.pem"]), 1, &["chain.pem cannot be used"]);
    assert!(!root.path().join("a").exists() && !root.path().join("cairn-data/geneva").exists());
}

#[test]
fn a_configuration_that_is_wrong_is_put_right_in_words_and_variables_go_before_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("cairn.toml"), "data = \"of-the-file\"\n\n[s3]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    let wrong = serve(root.path(), &["--config", "cairn.toml"], &[]);
    assert_says(&wrong, 2, &["cairn.toml, line 4: there is no setting lisen in [s3]. Did you mean listen?"]);
    assert_says(&serve(root.path(), &[], &[("CAIRN_CONFIG", "none.toml")]), 2, &["none.toml: it cannot be read"]);
    // Data directories that cannot be one tell which was taken.
    for file in ["of-the-file", "of-the-variable", "of-the-flag"] {
        std::fs::write(root.path().join(file), "mine").unwrap();
    }
    std::fs::write(root.path().join("cairn.toml"), "data = \"of-the-file\"\n").unwrap();
    let arguments = ["--config", "cairn.toml"];
    assert_says(&serve(root.path(), &arguments, &[]), 1, &["of-the-file cannot be used"]);
    let variable = [("CAIRN_DATA", "of-the-variable")];
    assert_says(&serve(root.path(), &arguments, &variable), 1, &["of-the-variable cannot be used"]);
    let with_flag = ["--config", "cairn.toml", "--data", "of-the-flag"];
    assert_says(&serve(root.path(), &with_flag, &variable), 1, &["of-the-flag cannot be used"]);
}

#[test]
fn a_data_directory_that_cannot_be_one_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "mine").unwrap();
    assert_says(&serve(root.path(), &["--data", "file"], &[]), 1, &["file cannot be used", "Give a directory with --data"]);
    assert_says(&serve(root.path(), &["--data", "file/below"], &[]), 1, &["file/below cannot be used", "--data"]);
    assert_eq!(std::fs::read(root.path().join("file")).unwrap(), b"mine");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let root = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_says(&serve(root.path(), &["--listen", &address], &[]), 1, &[&address, "--listen"]);
    let administration = ["--listen", "127.0.0.1:0", "--admin-listen", &address];
    assert_says(&serve(root.path(), &administration, &[]), 1, &[&address, "--admin-listen"]);
    assert!(!root.path().join("cairn-data/geneva").exists(), "a store was made by a start that failed");
}

/// Half a root key was once found out only when the store had been made, and the start ended in a panic.
#[test]
fn a_root_key_that_cannot_be_used_is_found_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0"];
    let half = serve(root.path(), &arguments, &[("CAIRN_ROOT_ACCESS_KEY_ID", "A")]);
    assert_says(&half, 1, &["set both CAIRN_ROOT_ACCESS_KEY_ID and CAIRN_ROOT_SECRET_ACCESS_KEY, or neither"]);
    let short = [("CAIRN_ROOT_ACCESS_KEY_ID", "A"), ("CAIRN_ROOT_SECRET_ACCESS_KEY", "s")];
    assert_says(&serve(root.path(), &arguments, &short), 1, &["cannot be used", "a secret access key has"]);
    std::fs::write(root.path().join("cairn-data/root-credentials"), "nothing").unwrap();
    assert_says(&serve(root.path(), &arguments, &[]), 1, &["is not a root key", "Restore it, or remove it"]);
    assert!(!root.path().join("cairn-data/geneva").exists());
}

/// L8: two zones that are gone are not made anew.
#[test]
fn two_zones_that_are_gone_are_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("cairn-data");
    let mut service = Command::new(env!("CARGO_BIN_EXE_cairn"));
    service.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    service.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut running = service.spawn().unwrap();
    for _ in 0..600 {
        if data.join("root-credentials").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // A second one is told who has the directory.
    assert_says(&serve(root.path(), &["--listen", "127.0.0.1:0"], &[]), 1, &["another process serves from", "Stop it first"]);
    running.kill().unwrap();
    running.wait().unwrap();
    for zone in ["geneva", "gland"] {
        std::fs::remove_dir_all(data.join(zone)).unwrap();
    }
    let refused = serve(root.path(), &["--listen", "127.0.0.1:0"], &[]);
    assert_says(&refused, 1, &["needs two zones that can vote, and 1 can", "geneva: empty", "put its directory back"]);
    assert!(!data.join("geneva").exists() && !data.join("admin.sock").exists());
}

/// K2: the API is not served over the network without TLS, without a credential, or with one that others know.
#[test]
fn administration_over_the_network_is_not_served_openly() {
    let root = tempfile::tempdir().unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--admin-api-listen", "127.0.0.1:0"];
    let refused = |more: &[&str], variables: &[(&str, &str)], code: i32, parts: &[&str]| {
        let refused = serve(root.path(), &[&listen[..], more].concat(), variables);
        assert_says(&refused, code, parts);
    };
    let token = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let tls = ["--admin-api-tls-cert", "chain.pem", "--admin-api-tls-key", "key.pem"];
    let with_file = [&tls[..], &["--admin-api-token-file", "tokens"]].concat();
    let file = root.path().join("tokens");
    let write = |text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };

    refused(&[], &[("CAIRN_ADMIN_API_TOKEN", token)], 1, &["it speaks TLS only", "--admin-api-tls-cert", "--tls-cert"]);
    refused(&tls, &[], 1, &["nobody could use it", "--admin-api-token-file", "openssl rand -hex 32", "--admin-api-client-ca"]);
    refused(&with_file, &[], 1, &["tokens cannot be read"]);
    write("secret\n", 0o600);
    refused(&with_file, &[], 1, &["tokens: line 1: a token is made of at least 32 random bytes", "openssl rand"]);
    write("", 0o600);
    refused(&with_file, &[], 1, &["there is no token"]);
    write(token, 0o644);
    refused(&with_file, &[], 1, &["its mode is 0644", "chmod 600"]);
    write(token, 0o600);
    refused(&with_file, &[], 1, &["the TLS file", "chain.pem cannot be used"]);
    refused(&with_file, &[("CAIRN_ADMIN_API_TOKEN", token)], 1, &["either --admin-api-token-file or CAIRN_ADMIN_API_TOKEN"]);
    refused(&tls, &[("CAIRN_ADMIN_API_TOKEN", "guess-me")], 1, &["CAIRN_ADMIN_API_TOKEN: line 1: a token is made of"]);
    refused(&["--admin-api-tls-cert", "chain.pem"], &[], 2, &["--admin-api-tls-key"]);
    let nowhere = serve(root.path(), &["--admin-api-token-file", "tokens"], &[]);
    assert_says(&nowhere, 2, &["--admin-api-listen"]);
    assert!(!root.path().join("cairn-data/geneva").exists() && !root.path().join("cairn-data/admin.sock").exists());
}
