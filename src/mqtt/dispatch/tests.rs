use super::*;
use crate::api::{Commands, Incoming, Outcome, response, route};
use crate::bond::testing::{metadata, secure_bond, secure_ltk};
use crate::bond::{Bond, PeerAddress, PeerAddressType};
use crate::mqtt::testing::adapter::{
    ADAPTER, Asked, FakeAdapter, FakeExchange, Manner, OTHER_ADAPTER, OTHER_PEER, PEER, address, handle,
    table, two_bonds, wire,
};

struct Scene {
    dispatcher: Dispatcher,
    exchange: Arc<FakeExchange>,
    adapter: Asked,
}

fn scene(manner: Manner) -> Scene {
    let (adapter, asked) = FakeAdapter::launch(address(ADAPTER), two_bonds(), manner);
    let exchange = Arc::new(FakeExchange::default());
    let dispatcher = Dispatcher {
        adapters: BTreeMap::from([(address(ADAPTER), handle(address(ADAPTER), &adapter))]),
        exchange: exchange.clone(),
        services: wire(&adapter),
        set_log_level: Arc::new(|level| match level {
            LogLevel::Trace => Err("this build has no trace".to_owned()),
            _ => Ok(()),
        }),
        exchanges: Arc::new(Semaphore::new(EXCHANGES_AT_ONCE)),
    };
    Scene { dispatcher, exchange, adapter: asked }
}

impl Scene {
    /// Two adapters.
    fn with_another(mut self) -> Self {
        let other = address(OTHER_ADAPTER);
        let bonds = table([secure_bond("C0:FF:EE:00:00:03", 3)]);
        let (adapter, _) = FakeAdapter::launch(other, bonds, Manner::Obliging);
        self.dispatcher.adapters.insert(other, handle(other, &adapter));
        self
    }

    fn reads(&self, input: Vec<(Option<&str>, Vec<Bond>)>) {
        let input = input.into_iter().map(|(adapter, bonds)| (adapter.map(address), bonds)).collect();
        *self.exchange.input.lock().unwrap() = input;
    }

    /// The answer as the client sees it; `'` stands for `"`.
    async fn ask(&self, verb: &str, body: &str) -> serde_json::Value {
        let body = body.replace('\'', "\"").replace("<A>", ADAPTER).replace("<B>", OTHER_ADAPTER);
        let body = body.replace("<P>", PEER).replace("<Q>", OTHER_PEER);
        let routed = route(Incoming { verb, body: body.as_bytes(), retained: false }, Commands::All);
        let Outcome::Accept(request) = routed.outcome else { panic!("{body}: {:?}", routed.outcome) };
        let answer = self.dispatcher.clone().carry_out(request).await;
        serde_json::from_slice(&response(&answer, None, usize::MAX)).unwrap()
    }

    async fn data(&self, verb: &str, body: &str) -> serde_json::Value {
        let answer = self.ask(verb, body).await;
        assert_eq!(answer["status"], "ok", "{answer}");
        answer["data"].clone()
    }

    async fn code(&self, verb: &str, body: &str) -> String {
        let answer = self.ask(verb, body).await;
        assert_eq!(answer["status"], "error", "{answer}");
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    fn last_asked(&self) -> String {
        self.adapter.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn last_exchanged(&self) -> String {
        self.exchange.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

#[actix::test]
async fn a_list_pages_over_all_adapters() {
    let scene = scene(Manner::Obliging).with_another();
    let page = scene.data("bonds/list", "{'offset':1,'limit':1}").await;
    assert_eq!((&page["total"], page["bonds"].as_array().unwrap().len()), (&3.into(), 1));
    assert_eq!(page["bonds"][0]["peer"], OTHER_PEER);
    assert_eq!(page["adapters"][1]["adapter"], OTHER_ADAPTER);
    let last = scene.data("bonds/list", "{'offset':2}").await;
    assert_eq!((&last["bonds"][0]["adapter"], &last["total"]), (&OTHER_ADAPTER.into(), &3.into()));
    let one = scene.data("bonds/list", "{'peer':'<P>'}").await;
    assert_eq!((&one["total"], &one["bonds"][0]["peer"]), (&1.into(), &PEER.into()));
    assert_eq!(scene.data("bonds/list", "{'offset':1000}").await["bonds"].as_array().unwrap().len(), 0);
}

#[actix::test]
async fn an_adapter_that_nobody_knows_is_an_error_for_every_verb() {
    let scene = scene(Manner::Obliging);
    for (verb, more) in [
        ("bonds/list", ""),
        ("bonds/export", ""),
        ("bonds/forget", ",'peer':'<P>'"),
        ("bonds/reload", ""),
        ("bonds/restore", ",'from':{'store':true}"),
        ("checkpoint/create", ""),
        ("adapter/mode", ",'mode':'own'"),
        ("adapter/forget", ""),
    ] {
        assert_eq!(
            scene.code(verb, &format!("{{'adapter':'<B>'{more}}}")).await,
            "adapter_unknown",
            "{verb}"
        );
    }
}

#[actix::test]
async fn forgetting_says_what_was_removed_and_what_the_kernel_holds() {
    let scene = scene(Manner::Obliging);
    let data = scene.data("bonds/forget", "{'adapter':'<A>','peer':'<P>','unpair':false}").await;
    assert_eq!(data["removed"]["peer"], PEER);
    assert_eq!(data["kernel"]["state"], "held");
    assert_eq!(data["checkpoint"], "c-1");
    assert_eq!(scene.last_asked(), format!("forget {PEER}/public unpair=false"));
    assert_eq!(
        scene.code("bonds/forget", "{'adapter':'<A>','peer':'C0:FF:EE:00:00:99'}").await,
        "peer_unknown"
    );
}

#[actix::test]
async fn a_peer_that_is_there_twice_has_to_be_named_with_its_type() {
    let mut scene = scene(Manner::Obliging);
    let twin = PeerAddress::parse(PEER, PeerAddressType::StaticRandom).unwrap();
    let mut bond = Bond::new(twin, metadata());
    bond.put_ltk(secure_ltk(9));
    let (adapter, asked) =
        FakeAdapter::launch(address(ADAPTER), table([secure_bond(PEER, 1), bond]), Manner::Obliging);
    scene.dispatcher.adapters.insert(address(ADAPTER), handle(address(ADAPTER), &adapter));
    scene.adapter = asked;
    assert_eq!(scene.code("bonds/forget", "{'adapter':'<A>','peer':'<P>'}").await, "peer_ambiguous");
    assert_eq!(scene.last_asked(), "");
    scene.data("bonds/forget", "{'adapter':'<A>','peer':'<P>','address_type':'random'}").await;
    assert_eq!(scene.last_asked(), format!("forget {PEER}/random unpair=true"));
}

#[actix::test]
async fn a_reload_of_a_held_adapter_is_an_error() {
    assert_eq!(scene(Manner::Held).code("bonds/reload", "{'adapter':'<A>'}").await, "held");
    let data = scene(Manner::Obliging).data("bonds/reload", "{'adapter':'<A>'}").await;
    assert_eq!(data["kernel"]["state"], "loaded");
}

#[actix::test]
async fn a_restore_from_the_store_of_a_held_adapter_succeeds_and_says_so() {
    let scene = scene(Manner::Held);
    let data = scene.data("bonds/restore", "{'adapter':'<A>','from':{'store':true}}").await;
    assert_eq!(data["kernel"]["state"], "held");
    assert!(data["kernel"]["reason"].as_str().unwrap().contains("bluetoothd"));
    assert_eq!((&data["plan"]["counts"]["unchanged"], &data["applied"]), (&2.into(), &true.into()));
    assert_eq!(data["results"].as_array().unwrap().len(), 2);
    let dry = scene.data("bonds/restore", "{'adapter':'<A>','from':{'store':true},'dry_run':true}").await;
    assert_eq!((&dry["kernel"], &dry["applied"], &dry["results"]), (&().into(), &false.into(), &().into()));
    let asked = scene.adapter.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|asked| *asked == "reload").count(), 1, "a dry run asked the kernel");
}

#[actix::test]
async fn an_undo_says_what_it_undoes_what_it_leaves_and_what_became_of_each_list() {
    let scene = scene(Manner::Obliging);
    let dry = scene.data("bonds/undo", "{'adapter':'<A>','dry_run':true}").await;
    assert_eq!((&dry["undone"]["operation"], &dry["plan"]["mode"]), (&"replace".into(), &"undo".into()));
    assert_eq!((&dry["applied"], &dry["kernel"]), (&false.into(), &().into()));
    assert_eq!(dry["plan"]["hazards"][0]["code"], "changed_since");
    let data = scene.data("bonds/undo", "{'adapter':'<A>','plan_id':'00ff'}").await;
    assert_eq!(data["kept"][0]["peer"], OTHER_PEER);
    assert_eq!(data["kernel"]["lists"]["ltks"], serde_json::json!({"state":"loaded","loaded":2,"refused":1}));
    assert_eq!(scene.last_asked(), "undo dry_run=false plan=Some(\"00ff\")");
}

#[actix::test]
async fn a_restore_goes_to_the_adapter_that_the_input_names() {
    let scene = scene(Manner::Obliging).with_another();
    scene.reads(vec![(Some(ADAPTER), vec![secure_bond(PEER, 5)])]);
    let data =
        scene.data("bonds/restore", "{'from':{'file':'x.json'},'plan_id':'00ff','mode':'replace'}").await;
    assert_eq!((&data["adapter"], &data["plan"]["mode"]), (&ADAPTER.into(), &"replace".into()));
    assert_eq!(data["plan"]["refused"][0]["place"], "adapters[0].bonds[3]");
    assert_eq!(data["results"][0]["result"], "added");
    assert_eq!(data["report"]["taken"], 1);
    let expected =
        format!("restore [{PEER}/public] replace dry_run=false mismatch=false plan=Some(\"00ff\") imported");
    assert_eq!(scene.last_asked(), expected);
    assert_eq!(scene.last_exchanged(), "import File(\"x.json\")");
}

#[actix::test]
async fn refused_records_never_cost_a_bond_that_nobody_was_told_of() {
    let scene = scene(Manner::Obliging);
    let body = |more: &str| format!("{{'from':{{'file':'x.json'}}{more}}}");
    scene.reads(vec![(Some(ADAPTER), vec![secure_bond(PEER, 5)])]);
    scene.data("bonds/restore", &body("")).await;
    assert_eq!(scene.code("bonds/restore", &body(",'mode':'replace'")).await, "plan_needed");
    scene.data("bonds/restore", &body(",'mode':'replace','dry_run':true")).await;
    scene.data("bonds/restore", &body(",'mode':'replace','plan_id':'00ff'")).await;

    scene.reads(vec![(Some(ADAPTER), vec![])]);
    for more in ["", ",'mode':'replace','dry_run':true", ",'mode':'replace','plan_id':'00ff'"] {
        assert_eq!(scene.code("bonds/restore", &body(more)).await, "format_invalid", "{more}");
    }
    assert_eq!(scene.adapter.lock().unwrap().len(), 3);
}

#[actix::test]
async fn bonds_of_another_adapter_are_only_restored_when_that_is_allowed() {
    let scene = scene(Manner::Obliging);
    scene.reads(vec![(Some(OTHER_ADAPTER), vec![secure_bond(PEER, 5)])]);
    let body = "{'adapter':'<A>','from':{'checkpoint':'c'}";
    let answer = scene.ask("bonds/restore", &format!("{body}}}")).await;
    assert_eq!(answer["error"]["code"], "adapter_mismatch");
    assert_eq!(answer["data"]["made_for"], OTHER_ADAPTER);
    assert_eq!(scene.last_asked(), "");
    let dry = scene.data("bonds/restore", &format!("{body},'dry_run':true}}")).await;
    assert_eq!(dry["plan"]["hazards"][0]["code"], "adapter_mismatch");
    scene.data("bonds/restore", &format!("{body},'allow_adapter_mismatch':true}}")).await;
    assert!(scene.last_asked().contains("dry_run=false mismatch=true"), "{}", scene.last_asked());
}

#[actix::test]
async fn an_input_that_leaves_the_adapter_open_needs_one_in_the_request() {
    let scene = scene(Manner::Obliging).with_another();
    let bonds = || vec![secure_bond(PEER, 5)];
    let (unnamed, named) = ("{'from':{'inline':[]}}", "{'adapter':'<B>','from':{'inline':[]}}");

    scene.reads(vec![(None, bonds())]);
    assert_eq!(scene.code("bonds/restore", unnamed).await, "missing_field");
    assert_eq!(scene.data("bonds/restore", named).await["adapter"], OTHER_ADAPTER);

    scene.reads(vec![(Some(ADAPTER), vec![]), (Some(OTHER_ADAPTER), bonds())]);
    let answer = scene.ask("bonds/restore", unnamed).await;
    assert_eq!(answer["error"]["code"], "missing_field");
    assert_eq!(answer["data"]["adapters"], serde_json::json!([ADAPTER, OTHER_ADAPTER]));
    assert_eq!(scene.data("bonds/restore", named).await["plan"]["counts"]["added"], 1);

    scene.reads(vec![(Some(ADAPTER), bonds()), (None, bonds())]);
    assert_eq!(scene.code("bonds/restore", named).await, "adapter_mismatch");
    scene.reads(vec![]);
    assert_eq!(scene.code("bonds/restore", named).await, "format_invalid");
    scene.reads(vec![(Some("00:1A:7D:DA:71:99"), bonds())]);
    assert_eq!(scene.code("bonds/restore", unnamed).await, "adapter_unknown");
}

#[actix::test]
async fn an_export_takes_the_adapters_and_peers_that_are_named() {
    let scene = scene(Manner::Obliging).with_another();
    let all = scene.data("bonds/export", "{}").await;
    assert_eq!((&all["count"], &all["file"]), (&3.into(), &"bonds-1.json".into()));
    scene.data("bonds/export", "{'adapter':'<A>','format':'bluez'}").await;
    assert_eq!(scene.last_exchanged(), format!("export bluez [{ADAPTER}: {PEER} {OTHER_PEER}]"));
    scene.data("bonds/export", "{'peers':['<Q>']}").await;
    assert_eq!(scene.last_exchanged(), format!("export bondkeeper [{ADAPTER}: {OTHER_PEER}]"));
    assert_eq!(scene.code("bonds/export", "{'peers':['<Q>','C0:FF:EE:00:00:99']}").await, "peer_unknown");
    assert_eq!(scene.code("bonds/export", "{'format':'nothing'}").await, "format_unknown");
}

#[actix::test]
async fn the_small_verbs_ask_whom_they_concern() {
    let scene = scene(Manner::Obliging);
    let data = scene.data("adapter/mode", "{'adapter':'<A>','mode':'observe'}").await;
    assert_eq!((&data["mode"], &data["gate"]["state"]), (&"observe".into(), &"hold".into()));
    let data = scene.data("adapter/forget", "{'adapter':'<A>'}").await;
    assert_eq!((&data["bond_count"], &data["checkpoint"]), (&2.into(), &"c-2".into()));
    let data = scene.data("checkpoint/create", "{}").await;
    assert_eq!(data["checkpoints"].as_array().unwrap().len(), 1);
    assert_eq!(scene.last_asked(), format!("checkpoint {ADAPTER} requested"));
    assert_eq!(scene.data("checkpoint/list", "{}").await["checkpoints"][0]["generation"], 7);
    assert_eq!(scene.data("log_level", "{'level':'debug'}").await["level"], "debug");
    assert_eq!(scene.code("log_level", "{'level':'trace'}").await, "internal");
}

#[actix::test]
async fn what_an_adapter_or_the_store_refuses_has_its_code() {
    let scene = scene(Manner::Held);
    scene.reads(vec![(Some(ADAPTER), vec![secure_bond(PEER, 5)])]);
    let cases = [
        ("bonds/restore", "{'from':{'file':'x'}}", "plan_stale"),
        ("bonds/undo", "{'adapter':'<A>'}", "nothing_to_undo"),
        ("bonds/forget", "{'adapter':'<A>','peer':'<P>'}", "held"),
        ("adapter/mode", "{'adapter':'<A>','mode':'own'}", "busy"),
        ("adapter/forget", "{'adapter':'<A>'}", "adapter_present"),
        ("checkpoint/create", "{}", "disk_full"),
    ];
    for (verb, body, code) in cases {
        assert_eq!(scene.code(verb, body).await, code, "{verb}");
    }
}

#[actix::test]
async fn a_request_that_nobody_answers_ends_at_its_deadline() {
    let scene = scene(Manner::Silent);
    tokio::time::pause();
    for (verb, body) in
        [("bonds/reload", "{'adapter':'<A>'}"), ("bonds/forget", "{'adapter':'<A>','peer':'<P>'}")]
    {
        let begun = tokio::time::Instant::now();
        let answer = scene.ask(verb, body).await;
        assert_eq!(answer["error"]["code"], "kernel_timeout");
        assert!(answer["error"]["message"].as_str().unwrap().contains("may still be carried out"));
        assert!(begun.elapsed() <= KERNEL_DEADLINE + Duration::from_millis(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn every_request_has_a_deadline_below_a_minute() {
    let request = Request::Reload { adapter: address(ADAPTER) };
    assert_eq!(deadline(&request), (KERNEL_DEADLINE, Code::KernelTimeout));
    assert!(
        [LOOK_DEADLINE, DISK_DEADLINE, KERNEL_DEADLINE, TRANSFER_DEADLINE]
            .iter()
            .all(|limit| limit.as_secs() < 60)
    );
}
