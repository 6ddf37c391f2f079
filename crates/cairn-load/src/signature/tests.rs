use super::{Signer, compact, encode};

#[test]
fn dates_are_those_of_the_calendar() {
    for (seconds, text) in [
        (0, "19700101T000000Z"),
        (951_782_400, "20000229T000000Z"),
        (1_369_353_600, "20130524T000000Z"),
        (4_107_542_399, "21000228T235959Z"),
        (4_107_542_400, "21000301T000000Z"),
    ] {
        assert_eq!(compact(seconds), text);
    }
}

/// From AWS's page "Signature Calculations for the Authorization Header", the example "Get Bucket Lifecycle".
#[test]
fn the_published_example_is_signed_as_published() {
    let signer = Signer::new(
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        "examplebucket.s3.amazonaws.com",
        1_369_353_600,
    );
    let mut head = String::new();
    signer.head(&mut head, "GET", "/", "lifecycle=", super::EMPTY, None);
    assert!(head.contains("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"), "{head}");
}

#[test]
fn values_are_encoded_but_for_unreserved_characters() {
    assert_eq!(encode("a-._~/+ é"), "a-._~%2F%2B%20%C3%A9");
}
