use super::*;
use crate::postgres::ConnectionString;

fn only(text: &str) -> Config {
    let settings = PostgresSettings::new(ConnectionString::new(text));
    hosts(&settings).expect("hosts").pop().expect("a host")
}

/// A flow that is silently gone is noticed within seconds, and an operator may say after how many.
#[test]
fn flows_that_are_gone_are_noticed() {
    let seconds = Duration::from_secs;
    let found = |config: &Config| {
        let (timeout, idle) = (config.get_tcp_user_timeout().copied(), config.get_keepalives_idle());
        (timeout, idle, config.get_keepalives_interval(), config.get_keepalives_retries())
    };
    let usual = only("host=a user=cairn dbname=cairn");
    assert_eq!(found(&usual), (Some(seconds(10)), seconds(10), Some(seconds(5)), Some(3)));
    let said =
        only("host=a user=cairn tcp_user_timeout=7 keepalives_idle=60 keepalives_interval=11 keepalives_retries=2 keepalives=0");
    assert_eq!(found(&said), (Some(seconds(7)), seconds(60), Some(seconds(11)), Some(2)));
    assert!(!said.get_keepalives());
}
