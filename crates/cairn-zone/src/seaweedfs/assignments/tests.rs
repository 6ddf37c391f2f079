use super::*;

fn settings() -> Settings {
    Settings { assign_count: 3, assignment_age_max: Duration::from_secs(5), ..Settings::default() }
}

fn server(name: &str) -> Server {
    Server::new(&format!("{name}:80"), 0).unwrap()
}

fn picked(picked: &Picked) -> (u32, bool) {
    match picked {
        Picked::Fresh(assigned) => (assigned.volume, true),
        Picked::Old(assigned) => (assigned.volume, false),
        Picked::Nothing => (0, false),
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_take_turns_until_they_are_spent_or_old() {
    let mut state = State::default();
    let now = Instant::now();
    assert_eq!(picked(&state.pick(now)), (0, false));
    state.renew(vec![(7, vec![server("a")]), (8, vec![server("b")])], &settings(), now);
    let turns: Vec<u32> = (0..6).map(|_| picked(&state.pick(now)).0).collect();
    assert_eq!(turns, [7, 8, 7, 8, 7, 8]);
    assert!(!picked(&state.pick(now)).1, "spent: still good to write to, and time to ask");
    state.renew(vec![(7, vec![server("a")]), (7, vec![server("a")])], &settings(), now);
    assert_eq!((0..7).filter(|_| picked(&state.pick(now)).1).count(), 6, "named twice, good for twice as many");
    state.renew(vec![(9, vec![server("a")])], &settings(), now);
    assert_eq!(picked(&state.pick(now + Duration::from_secs(5))), (9, false), "old");
    state.renew(Vec::new(), &settings(), now);
    assert_eq!(picked(&state.pick(now)).0, 9, "an answer without a volume takes none away");
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_passed_over_for_a_while() {
    let masters = Masters::new(
        &super::super::settings::Cluster::new(Vec::new()),
        &settings(),
        "c",
        Arc::new(super::super::grpc::GrpcClient::new(
            &super::super::settings::Cluster::new(Vec::new()),
            &settings(),
            Arc::default(),
        )),
    );
    let assignments = Arc::new(Assignments::new(Arc::new(masters), settings()));
    let named = || vec![(7, vec![server("a"), server("c")]), (8, vec![server("b")]), (9, vec![server("c")])];
    let renew = || assignments.state.lock().renew(named(), &settings(), Instant::now());
    let volumes = || {
        let mut volumes: Vec<u32> = assignments.state.lock().ready.iter().map(|ready| ready.assigned.volume).collect();
        volumes.sort_unstable();
        volumes
    };
    renew();
    assignments.avoid_volume(8);
    assert_eq!(volumes(), [7, 9]);
    assignments.avoid_server(&server("c"));
    assert_eq!(volumes(), [] as [u32; 0], "each copy counts");
    renew();
    assert_eq!(volumes(), [] as [u32; 0], "a master does not know yet");
    assert!(matches!(assignments.take(1).await, Err(AssignError::NoMaster(_))), "no master is configured");
    tokio::time::advance(settings().avoid_for).await;
    renew();
    assert_eq!(volumes(), [7, 8, 9]);
}
