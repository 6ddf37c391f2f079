use clap::Parser;
use clap::error::ErrorKind;

use super::*;
use crate::cli::{Cli, Command};

fn parse(line: &str) -> Result<AdminOptions, clap::Error> {
    match Cli::try_parse_from(format!("cairn admin {line}").split(' '))?.command {
        Command::Admin(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

fn new_key(line: &str) -> NewKey {
    match parse(line).unwrap().command {
        AdminCommand::Key(KeyCommand::Create { rights, root }) => rights.key(root, None),
        AdminCommand::Key(KeyCommand::Import { rights, access_key_id, secret_access_key }) => {
            let secret_access_key = secret_access_key.read(&b"from-input\r\nrest"[..]).unwrap();
            rights.key(false, Some(Credentials { access_key_id, secret_access_key }))
        }
        other => panic!("{other:?}"),
    }
}

fn grants(line: &str) -> Vec<(Scope, Option<String>, Access)> {
    new_key(line).grants.into_iter().map(|grant| (grant.scope, grant.bucket, grant.access)).collect()
}

/// Taken for the local service, it would change the wrong one.
#[test]
fn another_machine_is_not_taken_for_this_one() {
    for (line, words) in [
        ("zone status --admin-endpoint http://other:9443 --token-file t", "without TLS"),
        ("zone status --admin-endpoint other --token-file t", "https://HOST:PORT"),
        ("zone status --admin-endpoint https://other:9443", "asks who you are"),
        ("zone status --admin-endpoint https://other:9443 --client-cert c", "both --client-cert and --client-key"),
        ("zone status --token-file t", "give --admin-endpoint URL"),
        ("zone status --ca-cert c", "give --admin-endpoint URL"),
        ("--client-key k --client-cert c zone status", "give --admin-endpoint URL"),
    ] {
        let options = parse(line).unwrap();
        let failure = client(&options).err().unwrap_or_else(|| panic!("{line}: somebody is asked"));
        assert!(failure.message.contains(words), "{line}: {}", failure.message);
        assert_eq!(run(options), ExitCode::FAILURE, "{line}");
    }
}

#[test]
fn a_key_is_given_what_the_line_says_and_no_more() {
    let bucket = |name: &str, access| (Scope::Bucket, Some(name.to_owned()), access);
    assert_eq!(grants("key create --bucket photos"), [bucket("photos", Access::Write)]);
    assert_eq!(grants("key create --bucket photos --readonly"), [bucket("photos", Access::Read)]);
    assert_eq!(grants("key create --bucket a1b --bucket c2d"), [bucket("a1b", Access::Write), bucket("c2d", Access::Write)]);
    assert_eq!(grants("key create --whole-tenant"), [(Scope::Tenant, None, Access::Administer)]);
    assert_eq!(grants("key create --whole-tenant --readonly"), [(Scope::Tenant, None, Access::Read)]);
    assert_eq!(grants("key create --root"), [(Scope::Store, None, Access::Administer)]);
    let import = "key import --access-key-id AK --secret-access-key";
    assert_eq!(grants(&format!("{import} s3cr3t-s3cr3t")), [(Scope::Tenant, None, Access::Administer)]);
    assert_eq!(grants(&format!("{import} s3cr3t-s3cr3t --bucket photos --readonly")), [bucket("photos", Access::Read)]);
}

#[test]
fn what_a_key_opens_has_to_be_said_once() {
    for (line, kind) in [
        ("key create", ErrorKind::MissingRequiredArgument),
        ("key create --readonly", ErrorKind::MissingRequiredArgument),
        ("key create --root --readonly", ErrorKind::ArgumentConflict),
        ("key create --root --tenant t", ErrorKind::ArgumentConflict),
        ("key create --whole-tenant --bucket photos", ErrorKind::ArgumentConflict),
        ("key import --access-key-id AK", ErrorKind::MissingRequiredArgument),
        ("zone", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("zone status --output yaml", ErrorKind::InvalidValue),
    ] {
        assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn a_secret_comes_from_the_line_or_from_input_and_shows_itself_nowhere() {
    let secret = |line: &str| new_key(line).credentials.unwrap().secret_access_key.0;
    assert_eq!(secret("key import --access-key-id AK --secret-access-key s3cr3t-s3cr3t"), "s3cr3t-s3cr3t");
    assert_eq!(secret("key import --access-key-id AK --secret-access-key -"), "from-input");
    let options = parse("key import --access-key-id AK --secret-access-key s3cr3t-s3cr3t").unwrap();
    assert!(!format!("{options:?}").contains("s3cr3t"));
    assert!(HiddenText("-".to_owned()).read(&b"\n"[..]).is_err());
}

#[test]
fn data_and_output_may_stand_anywhere() {
    for line in ["--data /d --output json key list", "key list --data /d --output json"] {
        let options = parse(line).unwrap();
        assert_eq!((options.data, options.output), (PathBuf::from("/d"), Output::Json), "{line}");
    }
    assert_eq!(
        filters(&[("tenant", Some("a&b".to_owned())), ("account", None), ("bucket", Some("c".to_owned()))]),
        "tenant=a%26b&bucket=c"
    );
}
