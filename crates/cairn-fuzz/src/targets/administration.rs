//! The administration: what reaches its port, and the files and addresses that administrators write.

use cairn::fuzz;

use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "administration", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "request", run: fuzz::request, seeds: request_seeds, memory: Memory::PerByte(1024) },
    Part { name: "bearer_token", run: fuzz::bearer_token, seeds: bearer_seeds, memory: Memory::PerByte(64) },
    Part { name: "tokens", run: fuzz::tokens, seeds: token_seeds, memory: Memory::PerByte(1024) },
    Part { name: "endpoint", run: fuzz::endpoint, seeds: endpoint_seeds, memory: Memory::PerByte(1024) },
    Part { name: "root_key_file", run: fuzz::root_key_file, seeds: root_key_seeds, memory: Memory::PerByte(64) },
];

const HEX: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const BASE64: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

fn owned<const COUNT: usize>(texts: [String; COUNT]) -> Vec<Vec<u8>> {
    texts.map(String::into_bytes).to_vec()
}

fn request_seeds() -> Vec<Vec<u8>> {
    let key = r#"{"grants":[{"scope":"bucket","bucket":"b","access":"read"},{"scope":"tenant","access":"administer"}],
        "tenant":"t","account":"a","description":"d","credentials":{"accessKeyId":"AKIA","secretAccessKey":"0123456789abcdef"}}"#;
    owned([
        format!("/keys\ntenant=a%26b&limit=7&after\n{key}"),
        "/tenants\n\n{\"name\":\"a\",\"uid\":\"1-2\"}".to_owned(),
        "/audit\n\n{\"bytesPerSecond\":1,\"settleSeconds\":60}".to_owned(),
        "/accounts\nlimit=1000\n{\"name\":\"\u{e9}\",\"tenant\":null}".to_owned(),
        "/keys/a%2Fb\nbucket=%C3%A9\n".to_owned(),
    ])
}

fn bearer_seeds() -> Vec<Vec<u8>> {
    owned([format!("Bearer {HEX}"), format!("bearer  {BASE64} "), "Basic YTpi".to_owned(), format!("Bearer {HEX}\nBearer x")])
}

fn token_seeds() -> Vec<Vec<u8>> {
    owned([format!("# a\nname {HEX}\n{BASE64}\n"), format!("{HEX}\r\n\r\n")])
}

fn endpoint_seeds() -> Vec<Vec<u8>> {
    let texts =
        ["https://cairn.example:9443", "https://[2001:db8::1]:9443/", "http://a:1", "https://me@a", "HTTPS://192.0.2.1:1"];
    owned(texts.map(str::to_owned))
}

fn root_key_seeds() -> Vec<Vec<u8>> {
    owned([
        "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"
            .to_owned(),
        "[default]\r\n aws_access_key_id=A\r\naws_secret_access_key = with = signs \n".to_owned(),
    ])
}
