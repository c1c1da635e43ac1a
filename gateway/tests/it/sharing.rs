//! What plugins share, between workers.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::{Gateway, config, settings};

cases! {
    each_engine: [
        a_plugin_hears_of_what_another_one_puts_into_its_queue_on_any_worker,
    ]
}

fn a_plugin_hears_of_what_another_one_puts_into_its_queue_on_any_worker(engine: &str) {
    let file = "file: ../gateway/tests/guests/queue.wat";
    let text = config(
        &format!("[{{ name: consumer, vm_id: consumers, {file} }}, {{ name: producer, {file} }}]"),
        "[{ uri: /consumer, plugins: { consumer: { conf: yes } }, upstream: { nodes: { \"builtin:echo\": 1 } } },
          { uri: /*, plugins: { producer: }, upstream: { nodes: { \"builtin:echo\": 1 } } }]",
    );
    let (settings, sink) = settings(engine, &text.replace("workers: 1", "workers: 3")).unwrap();
    let gateway = Gateway::start(settings, sink).unwrap();
    let paths: BTreeSet<String> = (0..30).map(|i| format!("/{i}")).collect();
    for path in &paths {
        // On a connection of its own, so that each worker has some of them.
        assert_eq!(Client::connect(gateway.address).get(path).status, 200);
    }
    let lines = gateway.sink.wait_for("queue_ready", paths.len());
    assert!(lines.iter().all(|line| line.plugin == "consumer"), "{lines:?}");
    let heard: BTreeSet<String> = lines.into_iter().map(|line| line.message).collect();
    assert_eq!(heard, paths);
    // Each once.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(gateway.sink.lines().len(), paths.len());
}
