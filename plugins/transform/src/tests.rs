//! What is taken out and what is left, what is folded and what is not.

use proptest::prelude::*;
use sawpit_plugin::Level;
use sawpit_plugin::serde_json::{self, Value, json};
use sawpit_plugin::testing::{self, Output, Sample, Transformed};

use super::*;

const NO_FOLD: &str = r#"{"fold_seconds": 0}"#;

fn run(config: &str, samples: &[Sample]) -> Transformed {
    testing::transform::<Clean>(config, samples)
}

fn one(config: &str, message: &str, data: &str) -> Output {
    run(config, &[Sample::new("d", Level::Info, message, data)]).outputs.remove(0)
}

#[track_caller]
fn check(message: &str, expected: &str) {
    assert_eq!(one(NO_FOLD, message, "{}").log.message, expected, "message");
    let data = json!({"deep": [{"text": message}]}).to_string();
    let redacted = one(NO_FOLD, "m", &data).data();
    assert_eq!(redacted, json!({"deep": [{"text": expected}]}), "log_data");
    assert_eq!(one(NO_FOLD, expected, "{}").log.message, expected, "a second time");
}

#[track_caller]
fn left(message: &str) {
    check(message, message);
}

#[test]
fn emails() {
    check("mail to jane.doe+x@mail.example.co.uk.", "mail to [email].");
    check("<a@b.de>,(c_d@e-f.org)", "<[email]>,([email])");
    check("from jürgen@bücher.example", "from [email]");
    check("a@x.org b@y.org", "[email] [email]");
    check("...me@x.org...", "...[email]...");
    check("line\nme@x.org\t\"q\"", "line\n[email]\t\"q\"");
    for text in
        ["root@localhost", "user @ home", "@types/node", "node@1.2.3", "a@b", "x@.org", "@", "a@@b.org"]
    {
        if text != "a@@b.org" {
            left(text);
        }
    }
}

#[test]
fn ipv4() {
    check("from 192.168.1.17:8080 to 10.0.0.1.", "from [ip]:8080 to [ip].");
    check("010.001.000.255/24, [127.0.0.1]", "[ip]/24, [[ip]]");
    check("10.0.0.1-10.0.0.9", "[ip]-[ip]");
    check("version 1.2.3.4 cannot be told from an address", "version [ip] cannot be told from an address");
    for text in
        ["v1.2.3.4", "1.2.3.4.5", "1.2.3", "256.1.1.1", "1.3.6.1.4.1.9", "1..2.3.4", "1.2.3.4a", "1.2.3.4567"]
    {
        left(text);
    }
}

#[test]
fn ipv6() {
    check("from 2001:db8::1: refused", "from [ip]: refused");
    check("[::1]:80 and fe80::1%eth0, fe80::2.", "[[ip]]:80 and [ip], [ip].");
    check("2001:0db8:85a3:0000:0000:8a2e:0370:7334/64", "[ip]/64");
    check("mapped ::ffff:10.1.2.3 x", "mapped [ip] x");
    check("net 2001:db8::/32", "net [ip]/32");
    for text in [
        "12:34:56",
        "2026-01-02T12:34:56.789Z",
        "00:1b:44:11:3a:b7",
        "00:1b:44:ff:fe:11:3a:b7",
        "std::net::Ipv6Addr",
        "abc::def",
        "a :: b",
        "::",
        "1:2:3:4:5:6:7",
        "ratio 16:9",
        "12345::1",
    ] {
        left(text);
    }
}

#[test]
fn cards() {
    check("paid with 4111111111111111.", "paid with [card].");
    check("5500-0000-0000-0004 and 3782 822463 10005", "[card] and [card]");
    check("qty 12 4111 1111 1111 1111 7", "qty 12 [card] 7");
    check("30569309025904, 6011000990139424", "[card], [card]");
    for text in [
        "4111111111111112",
        "1767225600000",
        "1767225600000000000",
        "0.4111111111111111",
        "x4111111111111111",
        "41111111111111111111",
        "4111  1111  1111  1111",
        "order 0000000000000000",
    ] {
        left(text);
    }
}

#[test]
fn secrets_by_name() {
    check("login password=hunter2 ok", "login password=[secret] ok");
    check("password: hunter2, user: jane", "password: [secret], user: jane");
    check("API-Key: 'a b c'; x", "API-Key: '[secret]'; x");
    check("GET /?access_token=abc&page=2", "GET /?access_token=[secret]&page=2");
    check(r#"body {"db_password":"a\"b","n":1}"#, r#"body {"db_password":"[secret]","n":1}"#);
    check(r#"body {\"token\":\"abc1\",\"n\":1}"#, r#"body {\"token\":\"[secret]\",\"n\":1}"#);
    check("Authorization: Basic dXNlcjpwYXNz next", "Authorization: [secret] next");
    check("Authorization: Bearer abcdef123456", "Authorization: [secret]");
    check("set-cookie: sid=1; Path=/; HttpOnly", "set-cookie: [secret]");
    check("client_secret = s3cr3t", "client_secret = [secret]");
    check("amqp://svc:p4ss@mq.example:5672/v", "amqp://svc:[secret]@mq.example:5672/v");
    check("token: abcdef0123456789", "token: [secret]");
    for text in [
        "unexpected token: word",
        "token_count=5",
        "max_tokens: 100",
        "password reset",
        "password=",
        "Token::new",
        "pwd=/home/jane",
        "http://host:80/a@b",
        "secret",
        "x = 1",
    ] {
        left(text);
    }
}

#[test]
fn secrets_by_shape() {
    check("sent bearer abc.DEF-123_x", "sent bearer [secret]");
    check("key AKIAIOSFODNN7EXAMPLE!", "key [secret]!");
    check("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1 end", "jwt [secret] end");
    for text in ["bearer bonds", "AKIAIOSFODNN7EXAMPL", "XAKIAIOSFODNN7EXAMPLE", "eyJ.a.b", "eyes"] {
        left(text);
    }
}

#[test]
fn a_longer_match_wins_over_one_inside_it() {
    check("password=jane@x.org", "password=[secret]");
    check("https://u:p@10.0.0.1/", "https://u:[secret]@[ip]/");
}

#[test]
fn members_named_as_secrets_lose_their_value_at_any_depth() {
    let data = r#"{ "Password":"x","a":[{"api_key": 12, "apiKeys":1}], "token":null,"secret":{"k":"v"},"n":"","passwd":"","cookie":true }"#;
    let expected = r#"{ "Password":"[secret]","a":[{"api_key": "[secret]", "apiKeys":1}], "token":null,"secret":"[secret]","n":"","passwd":"","cookie":true }"#;
    let output = one(NO_FOLD, "m", data);
    assert_eq!(output.log.data, expected);
    assert_eq!(one(NO_FOLD, "m", expected).log.data, expected, "a second time");
}

#[test]
fn what_is_not_redacted_stays_byte_by_byte() {
    let data = "{ \"n\" : 1.50e3 ,\n \"u\":\"\\u00e4\\/\", \"ip\":\"10.0.0.1\", \"10.0.0.1\": \"me\" }";
    let expected = "{ \"n\" : 1.50e3 ,\n \"u\":\"\\u00e4\\/\", \"ip\":\"[ip]\", \"10.0.0.1\": \"me\" }";
    assert_eq!(one(NO_FOLD, "m", data).log.data, expected);
}

#[test]
fn escapes_are_read_before_looking() {
    let output = one(NO_FOLD, "m", r#"{"a":"x\nme\u0040x.org\n","b":"\"password\":\"p\\\"q\""}"#);
    assert_eq!(output.data(), json!({"a": "x\n[email]\n", "b": "\"password\":\"[secret]\""}));
}

#[test]
fn classes_and_names_can_be_chosen() {
    let config = r#"{"redact": ["secret"], "secret_keys": ["Badge-No"], "fold_seconds": 0}"#;
    let output = one(config, "me@x.org badge_no=77 4111111111111111 ::1", r#"{"badgeNo": 77}"#);
    assert_eq!(output.log.message, "me@x.org badge_no=[secret] 4111111111111111 ::1");
    assert_eq!(output.data(), json!({"badgeNo": "[secret]"}));
    let untouched = one(r#"{"redact": []}"#, "password=x me@x.org", r#"{"token":"t"}"#);
    assert_eq!(
        (untouched.log.message.as_str(), untouched.log.data.as_str()),
        ("password=x me@x.org", r#"{"token":"t"}"#)
    );
}

#[test]
fn wrong_settings_are_told() {
    for (config, part) in [
        (r#"{"redact": ["phone"]}"#, "unknown variant `phone`"),
        (r#"{"secret_keys": ["-"]}"#, "secret_keys has a name without letters"),
        (r#"{"fold_seconds": -1}"#, "invalid value"),
        (r#"{"folds": 1}"#, "unknown field `folds`"),
    ] {
        let error = testing::configure::<Clean>(config).unwrap_err();
        assert!(error.contains(part), "{config}: {error}");
    }
}

const START: i64 = 1_767_225_600_000_000;

fn tick(device: &str, message: &str, data: &str, second: i64) -> Sample {
    Sample::new(device, Level::Error, message, data).at(START + second * 1_000_000)
}

#[test]
fn repeats_become_one_log_with_a_count() {
    let logs = [
        tick("a", "no route to 10.0.0.1", r#"{"try":1}"#, 0),
        tick("b", "no route to 10.0.0.1", r#"{"try":1}"#, 1),
        tick("a", "no route to 10.0.0.2", r#"{"try":1}"#, 2),
        tick("a", "other", "{}", 3),
        tick("a", "no route to 10.0.0.3", r#"{"try":1}"#, 60),
    ];
    let result = run("{}", &logs);
    let sources: Vec<_> = result.outputs.iter().map(|output| output.sources.clone()).collect();
    assert_eq!(sources, [vec![0, 2, 4], vec![1], vec![3]]);
    assert_eq!(result.outputs[0].log.message, "no route to [ip]");
    let expected = json!({
        "try": 1, "repeat_count": 3,
        "repeat_first_at": "2026-01-01T00:00:00.000000Z", "repeat_last_at": "2026-01-01T00:01:00.000000Z",
    });
    assert_eq!(result.outputs[0].data(), expected);
    assert_eq!(result.outputs[1].data(), json!({"try": 1}));
}

#[test]
fn a_repeat_outside_the_window_starts_anew() {
    let logs: Vec<_> = [0, 30, 61, 62].map(|second| tick("a", "m", "{}", second)).to_vec();
    let sources: Vec<_> = run("{}", &logs).outputs.into_iter().map(|output| output.sources).collect();
    assert_eq!(sources, [vec![0, 1], vec![2, 3]]);
    assert_eq!(run(NO_FOLD, &logs).outputs.len(), 4);
}

#[test]
fn logs_of_other_data_or_level_are_no_repeats_unless_asked() {
    let mut logs = vec![tick("a", "m", r#"{"t":1}"#, 0), tick("a", "m", r#"{"t":2}"#, 0)];
    assert_eq!(run("{}", &logs).outputs.len(), 2);
    assert_eq!(run(r#"{"fold_ignores_data": true}"#, &logs).outputs.len(), 1);
    logs[1].level = Level::Info;
    assert_eq!(run(r#"{"fold_ignores_data": true}"#, &logs).outputs.len(), 2);
}

#[test]
fn a_batch_with_nothing_to_do_is_unchanged() {
    let logs = [tick("a", "m", "{}", 0), tick("a", "n", "{}", 0)];
    let result = run("{}", &logs);
    assert_eq!(
        result.outputs.iter().map(|output| &output.log).collect::<Vec<_>>(),
        logs.iter().collect::<Vec<_>>()
    );
}

/// Texts full of what the finders look for.
fn tricky() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ -~]{0,8}",
        Just("password=".to_owned()),
        Just("token\": \"".to_owned()),
        Just("me@x.org".to_owned()),
        Just("10.0.0.1".to_owned()),
        Just("::1".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("Bearer ".to_owned()),
        Just("\\\"".to_owned()),
        Just("://u:p@".to_owned()),
        Just("ä\n😀".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

fn tricky_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        tricky().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(tricky(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Whether two values differ in strings only (and in what a secret's name hides).
fn same_shape(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (_, Value::String(text)) if text == "[secret]" => true,
        (Value::String(_), Value::String(_)) => true,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same_shape(a, b))
        }
        _ => before == after,
    }
}

proptest! {
    #[test]
    fn json_stays_json_of_the_same_shape(members in prop::collection::btree_map(tricky(), tricky_json(), 0..5)) {
        let before = Value::Object(members.into_iter().collect());
        let text = before.to_string();
        let after: Value = serde_json::from_str(&one(NO_FOLD, "m", &text).log.data).unwrap();
        let before: Value = serde_json::from_str(&text).unwrap();
        prop_assert!(same_shape(&before, &after), "{before} became {after}");
    }

    #[test]
    fn addresses_are_found_wherever_they_stand(before in "[ ,;(<>!]{0,5}", after in "[ ,;)<>!]{0,5}") {
        for (text, label) in [("jane@x.org", "[email]"), ("10.1.2.3", "[ip]"), ("2001:db8::7", "[ip]"), ("4111111111111111", "[card]")] {
            let message = format!("{before}{text}{after}");
            prop_assert_eq!(one(NO_FOLD, &message, "{}").log.message, format!("{before}{label}{after}"));
        }
    }

    #[test]
    fn no_log_is_lost(kinds in prop::collection::vec((0..3_u8, 0..3_u8, 0..200_i64), 1..60)) {
        let logs: Vec<_> = kinds.iter().map(|(d, m, s)| tick(&format!("d{d}"), &format!("m{m}"), "{}", *s)).collect();
        let mut sources: Vec<_> = run("{}", &logs).outputs.into_iter().flat_map(|output| output.sources).collect();
        sources.sort_unstable();
        prop_assert_eq!(sources, (0..logs.len()).collect::<Vec<_>>());
    }
}

#[test]
fn hostile_texts_take_no_quadratic_time() {
    for part in [
        "@",
        "a@",
        "1.",
        "1 ",
        "1-",
        ":",
        "a:",
        "eyJ-",
        "eyJa.",
        "Bearer ",
        "password=\"",
        "://:@",
        "4",
        "x=\\\"",
        "token:",
    ] {
        let message = part.repeat(200_000 / part.len());
        let started = std::time::Instant::now();
        let _ = one(NO_FOLD, &message, "{}");
        let took = started.elapsed();
        assert!(took.as_secs() < 5, "{part:?} took {took:?}");
    }
}
