//! The `grpc` example.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_as_the_table_says() {
    let mut out = Vec::new();
    let well = showcase::grpc::run(&mut out).await.expect("a server");
    assert!(well, "{}", String::from_utf8_lossy(&out));
}
