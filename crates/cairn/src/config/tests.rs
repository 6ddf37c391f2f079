use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;
use crate::cli::ServeOptions;

const PAGE: &str = include_str!("../../../../docs/configuration.md");

fn settings(text: &str) -> Result<FileSettings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    load(file.path()).map_err(|error| format!("{}: {}", error.line.unwrap_or(0), error.words))
}

fn serve(text: &str, arguments: &[&str]) -> Result<ServeOptions, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let given = format!("--config={}", file.path().display());
    let arguments = ["cairn", "serve", &given].into_iter().chain(arguments.iter().copied()).map(OsString::from);
    match parse(arguments.collect(), None).map_err(|error| error.to_string())?.command {
        Command::Serve(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_option_has_one_key_and_every_key_its_option() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let not_in_the_file = ["config", "zones", "help", "version"];
    let options: BTreeSet<&str> = serve.get_arguments().map(|argument| argument.get_id().as_str()).collect();
    let options: BTreeSet<&str> = options.into_iter().filter(|id| !not_in_the_file.contains(id)).collect();
    assert_eq!(KEYS.iter().map(|key| key.option).collect::<BTreeSet<_>>(), options);
    let names: BTreeSet<_> = KEYS.iter().map(|key| (key.table, key.name)).collect();
    assert_eq!((names.len(), options.len()), (KEYS.len(), KEYS.len()));
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for key in KEYS {
        let argument = serve.get_arguments().find(|argument| argument.get_id() == key.option).unwrap();
        let name = if key.table.is_empty() { key.name.to_owned() } else { format!("{}.{}", key.table, key.name) };
        let variable = argument.get_env().unwrap().to_str().unwrap();
        let row = format!("| `{name}` | `--{}` | `{variable}` |", argument.get_long().unwrap());
        assert!(PAGE.contains(&row), "docs/configuration.md lacks {row}");
    }
    assert_eq!(PAGE.lines().filter(|line| line.contains("` | `--")).count(), KEYS.len(), "the page has a key that is none");
    for name in zones::KEYS {
        assert!(PAGE.contains(&format!("| `{name}` |")), "docs/configuration.md lacks {name}");
    }
}

#[test]
fn the_page_s_example_is_one() {
    let example = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let settings = settings(example).unwrap();
    assert_eq!(settings.zones.len(), 3);
    assert_eq!(settings.zones[2].directory.as_deref(), Some(Path::new("/mnt/lucerne")));
    let options = serve(example, &[]).unwrap();
    assert_eq!((options.listen.port(), options.own_zone.unwrap().as_str()), (9000, "geneva"));
    assert_eq!(options.domains, ["s3.example", "s3.internal.example"]);
    assert!(options.limits.http2 && options.catalog_cache_mib == 512);
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let text = "[s3]\nregion = \"eu\"\nlisten = \"127.0.0.1:9001\"\n[limits]\nmax_requests = 1_000\nhttp2 = false\n";
    let options = serve(text, &["--region", "us"]).unwrap();
    assert_eq!((options.region.as_str(), options.listen.port()), ("us", 9001));
    assert_eq!((options.limits.max_requests, options.limits.http2, options.limits.max_headers), (1000, false, 128));
    let variable = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(variable.path(), text).unwrap();
    let arguments = ["cairn", "doctor", "--json"].map(OsString::from).to_vec();
    let cli = parse(arguments, Some(variable.path().into())).unwrap();
    assert!(matches!(cli.command, Command::Doctor(doctor) if doctor.serve.region == "eu" && doctor.json));
    // The administration has a file of nobody.
    let arguments = ["cairn", "admin", "zone", "status"].map(OsString::from).to_vec();
    assert!(parse(arguments, Some("/nowhere".into())).is_ok());
}

#[test]
fn relative_paths_begin_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cairn.toml");
    std::fs::write(&file, "data = \"store\"\n[s3]\ntls_cert = \"/etc/a.pem\"\n").unwrap();
    let settings = load(&file).unwrap();
    let store = directory.path().join("store").display().to_string();
    assert_eq!(settings.options, [("data", store), ("tls_cert", "/etc/a.pem".to_owned())]);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_may_be_meant() {
    let said = |text: &str| settings(text).expect_err(text);
    let says = |text: &str, parts: &[&str]| {
        let said = said(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{text:?}: {said}");
    };
    says("\n[s3]\nlisen = \"127.0.0.1:9000\"\n", &["3: there is no setting lisen in [s3]", "Did you mean listen?"]);
    says("[s3]\nmax_connections = 3\n", &["2:", "Did you mean max_connections in [limits]?"]);
    says("region = \"eu\"\n", &["1:", "above all tables", "Did you mean region in [s3]?"]);
    says("[limit]\n", &["1: there is no table [limit]", "[limits]"]);
    says("s3 = 3\n", &["1: s3 is a table"]);
    says("[s3]\nlisten = \"localhost:9000\"\n", &["2: listen: ", "IP:PORT"]);
    says("[s3]\nlisten = 9000\n", &["2: listen takes a text in quotes"]);
    says("[limits]\nmax_requests = 0\n", &["2: max_requests: ", "1..=1000000"]);
    says("[log]\naccess = \"al\"\n", &["2: access: ", "errors, changes, all"]);
    says("[s3]\nsecret_access_key = \"hidden\"\n", &["2:", "Secrets do not stand in this file"]);
    assert!(!said("[s3]\nsecret_access_key = \"hidden\"\n").contains("hidden"));
    says("[s3]\nregion = \"a\"\nregion = \"b\"\n", &["3: this is not TOML"]);
    let missing = load(Path::new("nowhere/cairn.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("nowhere/cairn.toml: it cannot be read"), "{missing}");
}

#[test]
fn zones_are_three_with_names_of_their_own() {
    let with = |first: &str| format!("[[zones]]\n{first}[[zones]]\nname = \"a\"\n[[zones]]\nname = \"b\"\n");
    let says = |text: &str, parts: &[&str]| {
        let said = settings(text).expect_err(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{text:?}: {said}");
    };
    let three = with("name = \"c\"\ndirectory = \"/mnt/c\"\n");
    let names: Vec<_> = settings(&three).unwrap().zones.iter().map(|zone| zone.name.to_string()).collect();
    assert_eq!(names, ["c", "a", "b"], "as they stand in the file");
    says(&with(""), &["1: this zone has no name"]);
    says(&with("name = 3\n"), &["2: name takes a text"]);
    says(&with("name = \"C!\"\n"), &["2:"]);
    says(&with("name = \"b\"\n"), &["5: there is a zone b above already"]);
    says(&with("name = \"c\"\ndirectroy = \"/mnt/c\"\n"), &["3: a zone has no setting directroy.", "Did you mean directory?"]);
    says("[[zones]]\nname = \"a\"\n", &["1: a store has three zones, and here are 1"]);
    says("[zones.a]\n", &["1: zones are tables of one list"]);
    says("zones = [1]\n", &["1: a zone is a table"]);
    let refused = serve(&three, &["--zone", "x=1", "--zone", "y=2", "--zone", "z=3"]).unwrap_err();
    assert!(refused.contains("keep them in one of both"), "{refused}");
    let options = serve(&three, &["--own-zone", "a"]).unwrap();
    let places = crate::data_directory::zone_places(Path::new("/data"), &options).unwrap();
    assert_eq!(places.each_ref().map(|place| place.path.display().to_string()), ["/mnt/c", "/data/a", "/data/b"]);
    let preference = crate::data_directory::preference(&places, options.own_zone.as_ref()).unwrap();
    assert_eq!(preference.map(cairn_types::ZoneIndex::get), [1, 2, 0]);
    let stranger = "d".parse().unwrap();
    assert!(crate::data_directory::preference(&places, Some(&stranger)).is_err());
}

#[test]
fn what_belongs_together_is_asked_for_wherever_it_was_given() {
    let text = "[admin_api]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"t\"\n[s3]\ntls_key = \"k\"\n";
    assert!(serve(text, &["--tls-cert", "c"]).is_ok());
    let refused = serve(text, &[]).unwrap_err();
    assert!(refused.contains("--tls-key was given without --tls-cert"), "{refused}");
    let refused = serve("[admin_api]\ntoken_file = \"t\"\n", &[]).unwrap_err();
    assert!(refused.contains("without --admin-api-listen"), "{refused}");
}
