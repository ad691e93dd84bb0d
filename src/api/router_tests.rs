use super::*;
use crate::api::limits::{LIST_LIMIT_DEFAULT, REQUEST_OCTETS_MAX};
use crate::api::request::{Deliver, ExportBonds, ForgetBond, FormatOptions, LogLevel, RestoreFrom, Seal};
use crate::bond::plan::RestoreMode;
use crate::bond::{AdapterAddress, Mode, PeerAddress, PeerAddressType};

const ADAPTER: &str = "00:1A:7D:DA:71:11";
const PEER: &str = "C0:FF:EE:00:00:01";

fn adapter() -> AdapterAddress {
    ADAPTER.parse().unwrap()
}

fn routed(verb: &str, body: &str) -> Routed {
    route(Incoming { verb, body: body.as_bytes(), retained: false }, Commands::All)
}

fn accepted(verb: &str, body: &str) -> Request {
    match routed(verb, body).outcome {
        Outcome::Accept(request) => request,
        other => panic!("{verb} {body}: {other:?}"),
    }
}

fn refused(verb: &str, body: &str) -> ApiError {
    match routed(verb, body).outcome {
        Outcome::Refuse(error) => error,
        other => panic!("{verb} {body}: {other:?}"),
    }
}

/// `'` stands for `"`, and `A` in angle brackets for the adapter.
fn json(text: &str) -> String {
    text.replace('\'', "\"").replace("<A>", ADAPTER).replace("<P>", PEER)
}

#[test]
fn plain_requests_become_what_they_say() {
    let cases = [
        ("health_check", "{}", Request::HealthCheck),
        ("bonds/reload", "{'adapter':'<A>'}", Request::Reload { adapter: adapter() }),
        ("adapter/forget", "{'adapter':'00:1a:7d:da:71:11'}", Request::ForgetAdapter { adapter: adapter() }),
        (
            "adapter/mode",
            "{'adapter':'<A>','mode':'observe'}",
            Request::SetMode { adapter: adapter(), mode: Mode::Observe },
        ),
        ("checkpoint/list", "{}", Request::ListCheckpoints { adapter: None }),
        (
            "checkpoint/create",
            "{'adapter':'<A>'}",
            Request::CreateCheckpoint { adapter: Some(adapter()), label: None },
        ),
        (
            "checkpoint/create",
            "{'label':'before_update_2'}",
            Request::CreateCheckpoint { adapter: None, label: Some("before_update_2".to_owned()) },
        ),
        ("log_level", "{'level':'trace'}", Request::SetLogLevel(LogLevel::Trace)),
    ];
    for (verb, body, request) in cases {
        assert_eq!(accepted(verb, &json(body)), request);
    }
}

#[test]
fn a_list_has_a_page_of_its_own_unless_the_request_says_otherwise() {
    let Request::ListBonds(list) = accepted("bonds/list", "{}") else { panic!() };
    assert_eq!((list.offset, list.limit, list.adapter, list.peer), (0, LIST_LIMIT_DEFAULT, None, None));
    let body = json("{'adapter':'<A>','offset':200,'limit':500,'peer':'<P>'}");
    let Request::ListBonds(list) = accepted("bonds/list", &body) else { panic!() };
    assert_eq!((list.offset, list.limit, list.adapter), (200, 500, Some(adapter())));
    assert!(list.peer.unwrap().matches(PeerAddress::parse(PEER, PeerAddressType::StaticRandom).unwrap()));
}

#[test]
fn a_peer_with_a_type_means_only_peers_of_that_type() {
    let body = json("{'adapter':'<A>','peer':'<P>','address_type':'random','unpair':false}");
    let Request::ForgetBond(ForgetBond { peer, unpair, .. }) = accepted("bonds/forget", &body) else {
        panic!()
    };
    assert!(peer.matches(PeerAddress::parse(PEER, PeerAddressType::StaticRandom).unwrap()));
    assert!(!peer.matches(PeerAddress::parse(PEER, PeerAddressType::Public).unwrap()));
    assert!(!unpair);
    let unpaired = accepted("bonds/forget", &json("{'adapter':'<A>','peer':'<P>'}"));
    assert!(matches!(unpaired, Request::ForgetBond(ForgetBond { unpair: true, .. })));
}

#[test]
fn an_export_goes_to_a_file_in_our_own_format_unless_the_request_says_otherwise() {
    let Request::ExportBonds(plain) = accepted("bonds/export", "{}") else { panic!() };
    let expected = ExportBonds {
        adapter: None,
        peers: None,
        format: "bondkeeper".to_owned(),
        options: FormatOptions::default(),
        deliver: Deliver::File,
        seal: None,
        allow_loss: false,
        dry_run: false,
    };
    assert_eq!(plain, expected);
    let body = json(
        "{'peers':['<P>',{'peer':'<P>','address_type':'public'}],'deliver':'mqtt','seal':{'passphrase':true}}",
    );
    let Request::ExportBonds(sealed) = accepted("bonds/export", &body) else { panic!() };
    assert_eq!(sealed.peers.unwrap().len(), 2);
    assert_eq!((sealed.deliver, sealed.seal), (Deliver::Mqtt, Some(Seal::ConfiguredPassphrase)));
}

#[test]
fn clear_keys_never_go_over_mqtt() {
    let clear = json("{'deliver':'mqtt','seal':false}");
    assert_eq!(refused("bonds/export", &clear).code, Code::SealRequired);
    let without = json("{'deliver':'mqtt','seal':{'passphrase':false}}");
    assert_eq!(refused("bonds/export", &without).code, Code::InvalidValue);
    let inside = json("{'deliver':'mqtt','seal':{'passphrase':'secret-value'}}");
    let error = refused("bonds/export", &inside);
    assert_eq!(error.code, Code::InvalidValue);
    assert!(!error.message.contains("secret-value"));
}

#[test]
fn a_restore_reads_from_exactly_one_source() {
    let from = |text: &str| {
        let body = json(&format!("{{'adapter':'<A>','from':{text}}}"));
        routed("bonds/restore", &body).outcome
    };
    let source = |text: &str| match from(text) {
        Outcome::Accept(Request::RestoreBonds(restore)) => restore.from,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(source("{'file':'bonds 1.json'}"), RestoreFrom::File("bonds 1.json".to_owned()));
    assert_eq!(source("{'checkpoint':'2026-x'}"), RestoreFrom::Checkpoint("2026-x".to_owned()));
    assert_eq!(source("{'store':true}"), RestoreFrom::Store);
    let RestoreFrom::Inline(input) = source("{'inline':[{'rand':18446744073709551615}]}") else { panic!() };
    assert_eq!(input.octets(), b"[{\"rand\":18446744073709551615}]");
    let RestoreFrom::Inline(input) = source("{'inline':'plain text'}") else { panic!() };
    assert_eq!(input.octets(), b"plain text");
    for bad in ["{}", "{'store':false}", "{'store':true,'file':'x'}", "'x'", "{'inline':5}", "{'other':1}"] {
        assert!(matches!(from(bad), Outcome::Refuse(_)), "{bad}");
    }
}

#[test]
fn a_restore_merges_and_is_no_dry_run_unless_the_request_says_so() {
    let body = json("{'from':{'file':'a.json'}}");
    let Request::RestoreBonds(restore) = accepted("bonds/restore", &body) else { panic!() };
    assert_eq!((restore.mode, restore.dry_run), (RestoreMode::Merge, false));
    assert!(!restore.allow_adapter_mismatch);
    let body =
        json("{'from':{'file':'a.json'},'mode':'replace','dry_run':true,'plan_id':'00ff','format':'bluez'}");
    let Request::RestoreBonds(restore) = accepted("bonds/restore", &body) else { panic!() };
    assert_eq!((restore.mode, restore.dry_run), (RestoreMode::Replace, true));
    assert_eq!((restore.plan_id.as_deref(), restore.format.as_deref()), (Some("00ff"), Some("bluez")));
}

#[test]
fn a_file_name_cannot_leave_its_folder() {
    for name in ["../x", "a/b", "/etc/passwd", "..", ".hidden", "a\\\\b", "", "x\\u0000y"] {
        let body = json(&format!("{{'adapter':'<A>','from':{{'file':'{name}'}}}}"));
        assert_eq!(refused("bonds/restore", &body).code, Code::InvalidValue, "{name}");
    }
}

#[test]
fn the_inside_of_a_restore_never_shows_in_its_debug_text() {
    let body =
        json("{'adapter':'<A>','from':{'inline':'5ec2e75ec2e7'},'options':{'passphrase':'5ec2e75ec2e7'}}");
    let shown = format!("{:?}", routed("bonds/restore", &body));
    assert!(shown.contains("12 octets"), "{shown}");
    assert!(!shown.contains("5ec2e7"), "{shown}");
}

#[test]
fn what_is_wrong_has_a_code_and_names_the_field() {
    let cases = [
        ("bonds/list", "{'limti':5}", Code::UnknownField, "`limti`"),
        ("bonds/list", "{'limit':501}", Code::InvalidValue, "`limit` must be a whole number from 1 to 500"),
        ("bonds/list", "{'limit':0}", Code::InvalidValue, "`limit`"),
        ("bonds/list", "{'offset':-1}", Code::InvalidValue, "`offset`"),
        ("bonds/list", "{'limit':1.5}", Code::InvalidValue, "`limit`"),
        ("bonds/list", "{'adapter':'hci0'}", Code::InvalidValue, "never `hci0`"),
        ("bonds/list", "{'address_type':'public'}", Code::MissingField, "`peer`"),
        ("bonds/reload", "{}", Code::MissingField, "`adapter`"),
        ("bonds/reload", "{'adaptor':'x'}", Code::UnknownField, "`adaptor`"),
        ("bonds/reload", "{'adapter':null}", Code::MissingField, "`adapter`"),
        ("bonds/forget", "{'adapter':'<A>'}", Code::MissingField, "`peer`"),
        ("bonds/forget", "{'adapter':'<A>','peer':'<P>','unpair':'yes'}", Code::InvalidValue, "`unpair`"),
        (
            "bonds/forget",
            "{'adapter':'<A>','peer':'70:81:94:0D:FB:AA','address_type':'random'}",
            Code::InvalidValue,
            "private",
        ),
        ("adapter/mode", "{'adapter':'<A>','mode':'of'}", Code::InvalidValue, "`auto`, `own` or `observe`"),
        ("adapter/mode", "{'adapter':'<A>'}", Code::MissingField, "`mode`"),
        ("log_level", "{'level':'loud'}", Code::InvalidValue, "`level`"),
        ("bonds/export", "{'peers':[]}", Code::InvalidValue, "`peers`"),
        ("bonds/export", "{'peers':[{'peer':'<P>','x':1}]}", Code::UnknownField, "`x`"),
        ("bonds/export", "{'seal':{'recipients':[]}}", Code::InvalidValue, "`recipients`"),
        ("bonds/restore", "{}", Code::MissingField, "`from`"),
        ("bonds/restore", "{'from':{'store':true}}", Code::MissingField, "`adapter`"),
        ("checkpoint/create", "{'label':'No Spaces'}", Code::InvalidValue, "`label`"),
        ("bonds/restore", "{'from':{'file':'x'},'adapters':{'hci0':'no'}}", Code::InvalidValue, "`adapters`"),
        ("bonds/export", "{'seal':true}", Code::InvalidValue, "`seal`"),
        ("bonds/list", "{'limit':5,'limit':6}", Code::BadJson, "`limit` stands twice"),
        ("bonds/list", "[]", Code::BadJson, "JSON object"),
        ("health_check", "PRESS", Code::BadJson, "line 1"),
        ("health_check", "{'transaction':{}}", Code::InvalidValue, "`transaction`"),
    ];
    for (verb, body, code, words) in cases {
        let error = refused(verb, &json(body));
        assert_eq!(error.code, code, "{verb} {body}: {error}");
        assert!(error.message.contains(words), "{verb} {body}: {error}");
    }
}

#[test]
fn verbs_that_are_not_there_are_unknown() {
    for verb in ["pair", "pair/confirm", "bonds", "", "BONDS/LIST", "bonds/list/"] {
        assert_eq!(refused(verb, "{}").code, Code::UnknownVerb, "{verb}");
    }
}

#[test]
fn a_retained_request_is_refused_whatever_it_says_and_an_empty_one_is_ignored() {
    for body in ["{}", "x", "{'adapter':'<A>'}"] {
        let body = json(body);
        let incoming = Incoming { verb: "bonds/reload", body: body.as_bytes(), retained: true };
        let Outcome::Refuse(error) = route(incoming, Commands::All).outcome else { panic!() };
        assert_eq!(error.code, Code::RetainedRequest);
    }
    for retained in [true, false] {
        let incoming = Incoming { verb: "bonds/reload", body: b"", retained };
        assert_eq!(route(incoming, Commands::All).outcome, Outcome::Ignore);
    }
}

#[test]
fn the_commands_option_switches_verbs_off() {
    let code = |verb, commands| match route(Incoming { verb, body: b"{}", retained: false }, commands).outcome
    {
        Outcome::Refuse(error) => Some(error.code),
        _ => None,
    };
    for verb in ["health_check", "bonds/list", "checkpoint/list"] {
        assert_eq!(code(verb, Commands::Read), None, "{verb}");
        assert_eq!(code(verb, Commands::None), Some(Code::NotPermitted), "{verb}");
    }
    for verb in VERBS.iter().filter(|verb| !verb.read_only) {
        assert_eq!(code(verb.name, Commands::Read), Some(Code::NotPermitted), "{}", verb.name);
        assert_ne!(code(verb.name, Commands::All), Some(Code::NotPermitted), "{}", verb.name);
    }
}

#[test]
fn a_body_may_be_as_large_as_its_verb_allows() {
    let body = |octets: usize| format!("{{{}}}", " ".repeat(octets - 2));
    let code = |verb, octets| match routed(verb, &body(octets)).outcome {
        Outcome::Refuse(error) => Some(error.code),
        _ => None,
    };
    assert_eq!(code("health_check", REQUEST_OCTETS_MAX), None);
    assert_eq!(code("health_check", REQUEST_OCTETS_MAX + 1), Some(Code::TooLarge));
    assert_eq!(code("bonds/restore", RESTORE_OCTETS_MAX), Some(Code::MissingField));
    assert_eq!(code("bonds/restore", RESTORE_OCTETS_MAX + 1), Some(Code::TooLarge));
}

#[test]
fn the_transaction_is_echoed_with_errors_too() {
    let transactions = [("'a-1'", Value::from("a-1")), ("7", Value::from(7)), ("true", Value::from(true))];
    for (text, value) in transactions {
        let body = json(&format!("{{'transaction':{text}}}"));
        for verb in ["health_check", "bonds/reload", "no_such_verb"] {
            assert_eq!(routed(verb, &body).transaction.as_ref(), Some(&value), "{verb}");
        }
    }
    let long = format!("{{\"transaction\":\"{}\"}}", "x".repeat(TRANSACTION_OCTETS_MAX));
    assert_eq!(refused("health_check", &long).code, Code::InvalidValue);
}

#[test]
fn an_error_never_repeats_a_value() {
    let secret = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
    for field in
        ["adapter", "peer", "peers", "mode", "from", "format", "seal", "limit", "level", "dry_run", "plan_id"]
    {
        for verb in VERBS {
            for value in
                [format!("\"{secret}\""), format!("[\"{secret}\"]"), format!("{{\"file\":\"/{secret}\"}}")]
            {
                let body = format!("{{\"{field}\":{value}}}");
                if let Outcome::Refuse(error) = routed(verb.name, &body).outcome {
                    assert!(!format!("{error:?}").contains(secret), "{} {body}: {error}", verb.name);
                }
            }
        }
    }
}
