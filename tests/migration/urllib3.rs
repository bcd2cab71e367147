//! urllib3 and requests.

use tower_http_retry::{
    RetryLayer, RetryReport,
    mounts::Mounts,
    policy::{Limit, Methods, RetryPolicy, RetryPolicyBuilder},
};

use crate::table::{
    NONE, Table,
    Turn::{Refused, Reset, Status, With},
    get, play, post,
};

fn policy(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryPolicy {
    let builder = RetryPolicy::urllib3_builder();
    change(builder).build().expect("a policy")
}

fn retry(change: impl FnOnce(RetryPolicyBuilder) -> RetryPolicyBuilder) -> RetryLayer<RetryPolicy> {
    RetryLayer::new(policy(change))
}

#[tokio::test(start_paused = true)]
async fn documented_uses_come_out_as_they_must() {
    let mut table = Table::default();
    let exhausted = "error, count_exhausted";

    let kinds = retry(|p| p.connect(5).read(2).redirect(5));
    let played = play(kinds.clone(), get(), [Refused; 6]).await;
    table.row(
        "connect=5: six attempts to connect",
        &played,
        [0; 5],
        exhausted,
    );
    let played = play(kinds, get(), [Reset; 3]).await;
    table.row("read=2: three that break", &played, [0; 2], exhausted);

    let played = play(
        retry(|p| p.total(3)),
        get(),
        [Reset, Refused, Reset, Status(200)],
    )
    .await;
    table.row("retries=3: three of any kind", &played, [0; 3], "200");
    let history = played.report.as_ref().map(RetryReport::attempt_count);
    assert_eq!(history, Some(4), "the history");
    let played = play(retry(|p| p.total(Limit::Never)), get(), [Reset]).await;
    table.row("retries=False", &played, NONE, "error, kind_disabled");

    let lists = |p: RetryPolicyBuilder| p.total(3).backoff_factor(0.1).status_forcelist([503]);
    let turns = [Status(503), Status(503), Status(503), Status(200)];
    let played = play(retry(lists), get(), turns).await;
    table.row(
        "backoff_factor=0.1: the first at once",
        &played,
        [0, 200, 400],
        "200",
    );
    let played = play(retry(|p| lists(p).backoff_max(0.3)), get(), turns).await;
    table.row("backoff_max", &played, [0, 200, 300], "200");
    let played = play(retry(|p| lists(p).backoff_jitter(0.5)), get(), turns).await;
    let between = [(0, 0), (200, 700), (400, 900)];
    table.row("backoff_jitter", &played, between, "200");
    let played = play(retry(lists), get(), [Status(503); 4]).await;
    table.row("raise_on_status", &played, [0, 200, 400], exhausted);
    let returns = retry(|p| lists(p).raise_on_status(false));
    let played = play(returns, get(), [Status(503); 4]).await;
    let returned = "503, count_exhausted";
    table.row("raise_on_status=False", &played, [0, 200, 400], returned);

    let asks = With(503, "retry-after", "7");
    let played = play(retry(|p| p), get(), [asks, Status(200)]).await;
    table.row(
        "Retry-After makes a 503 one to repeat",
        &played,
        [7000],
        "200",
    );
    let deaf = retry(|p| p.respect_retry_after_header(false));
    let played = play(deaf, get(), [asks]).await;
    table.row(
        "unless it is not respected",
        &played,
        NONE,
        "503, status_not_listed",
    );

    let played = play(retry(lists), post(), [Status(503)]).await;
    table.row(
        "a POST is not among the methods",
        &played,
        NONE,
        "503, method_not_allowed",
    );
    let any = retry(|p| lists(p).allowed_methods(Methods::any()));
    let played = play(any, post(), [Status(503), Status(200)]).await;
    table.row("allowed_methods=None", &played, [0], "200");

    // The session of the documentation of requests: POST, mounted for one scheme.
    let orders = policy(|p| lists(p).allowed_methods(["POST"]));
    let https = Mounts::new()
        .mount("https://", orders.clone())
        .expect("a mount");
    let played = play(RetryLayer::new(https), post(), [Status(503)]).await;
    table.row(
        "mounted for https://, asked by http://",
        &played,
        NONE,
        "503, no_mount",
    );
    let both = RetryLayer::new(Mounts::new().mount_all(orders));
    let played = play(both, post(), [Status(503), Status(503), Status(200)]).await;
    table.row("mounted for both", &played, [0, 200], "200");

    table.has_ten();
}
