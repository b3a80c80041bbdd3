//! What waits when a backup is made goes on after a restore: tickets are decided, holds expire.

use cartgate_tests::process::eventually;
use cartgate_tests::{Order, Service, ServiceOptions, Shop};

use super::{SKU, backup, done, place, restore};

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_decided_in_order_and_holds_expire() {
    let (dir, file) = place("store.backup");
    let options = ServiceOptions::new(dir.path());
    let slow = "wait_ms = 1\nhold_ms = 5000\n[lanes]\nreserves_per_s = 1\n";
    let mut service = Service::start(&options.settings(slow)).await.unwrap();
    let shop = Shop::at(service.address());
    shop.set_stock(SKU, 4).await.unwrap();
    let mut tickets = Vec::new();
    while tickets.len() < 12 {
        let answer = shop.reserve(&Order::one(SKU)).await.unwrap();
        match answer.status {
            201 => {}
            202 => tickets.push(answer.ticket().to_owned()),
            _ => panic!("{answer:?}"),
        }
    }
    let said = done(backup(&service.url(""), &file).await);
    service.process.kill().await.unwrap();
    assert!(!said.contains(" 0 tickets"), "{said}");

    let restored = ServiceOptions::new(&dir.path().join("restored"));
    done(restore(&file, &restored.data()).await);
    let lasting = "hold_ms = 5000\nunclaimed_ms = 60000\n";
    let service = Service::start(&restored.settings(lasting)).await.unwrap();
    let shop = Shop::at(service.address());
    let mut held = Vec::new();
    for ticket in &tickets {
        let path = format!("/v1/tickets/{ticket}");
        let decided = || async {
            let answer = shop.get(&path).await.unwrap();
            (answer.status != 202).then_some(answer)
        };
        let answer = eventually("a ticket's outcome", decided).await;
        assert!([200, 409].contains(&answer.status), "{answer:?}");
        held.push(answer.status == 200);
    }
    // There are four units: whoever came first has them.
    assert!(held.iter().any(|is_held| *is_held) && held.is_sorted_by(|a, b| a >= b), "{held:?}");
    let all_back = || async {
        let stock = shop.stock(SKU).await.unwrap().body;
        (stock["available"] == 4 && stock["held"] == 0).then_some(())
    };
    eventually("all holds to expire", all_back).await;
}
