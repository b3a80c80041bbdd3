//! Files: what is damaged is refused, and nothing that is there is overwritten.

use std::fs;
use std::path::Path;

use cartgate_tests::{Order, Service, ServiceOptions, Shop};

use super::{Run, SKU, backup, cartgate, done, names, place, refused, restore};

/// A service with a hold, and a backup of it.
async fn backed_up(file: &Path) -> (Service, String) {
    let service = Service::start(&ServiceOptions::new(file.parent().unwrap())).await.unwrap();
    let shop = Shop::at(service.address());
    shop.set_stock(SKU, 10).await.unwrap();
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let said = done(backup(&service.url(""), file).await);
    (service, said)
}

async fn check(file: &Path) -> Run {
    cartgate(&["restore", "--check", file.to_str().unwrap()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_or_changed_is_refused_and_nothing_is_left() {
    let (dir, file) = place("store.backup");
    let (_service, said) = backed_up(&file).await;
    assert!(said.starts_with("1 SKUs, 1 holds, 0 tickets, as of commit 2 ("), "{said}");
    assert_eq!(done(check(&file).await), said);
    let whole = fs::read(&file).unwrap();
    let (damaged, data) = (dir.path().join("damaged"), dir.path().join("new/data"));
    fs::create_dir(data.parent().unwrap()).unwrap();
    let refuse = async |bytes: &[u8], part: &str| {
        fs::write(&damaged, bytes).unwrap();
        refused(&check(&damaged).await, 1, part);
        refused(&restore(&damaged, &data).await, 1, part);
        assert_eq!(names(data.parent().unwrap()), [""; 0], "something is left");
    };
    let len = whole.len();
    refuse(&[], "no backup").await;
    refuse(b"something else, and long enough", "no backup").await;
    for cut in [20, len / 3, len / 2, len - 33, len - 1] {
        refuse(&whole[..cut], "cut off").await;
    }
    for at in [len / 4, len / 2, len - 40, len - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        // A length that was flipped makes it seem to be longer.
        refuse(&flipped, "damaged: ").await;
    }
    refuse(&[&whole[..], &whole[..]].concat(), "something comes after its end").await;
    refused(&restore(&dir.path().join("nowhere"), &data).await, 2, "nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_there_is_overwritten() {
    let (dir, file) = place("store.backup");
    let (service, _) = backed_up(&file).await;
    let before = fs::read(&file).unwrap();
    refused(&backup(&service.url(""), &file).await, 2, "is there already");
    assert_eq!(fs::read(&file).unwrap(), before);

    let data = dir.path().join("other");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mine"), "").unwrap();
    refused(&restore(&file, &data).await, 2, "is there already");
    refused(&restore(&file, &dir.path().join("data")).await, 2, "is there already");
    assert_eq!(names(&data), ["mine"]);
    // Nothing can be put in the place of a volume.
    refused(&restore(&file, Path::new("/proc")).await, 2, "a volume is mounted at /proc");
    // What another restore has left, or is making.
    fs::remove_file(data.join("mine")).unwrap();
    let left = dir.path().join("other.restoring");
    fs::create_dir(&left).unwrap();
    refused(&restore(&file, &data).await, 2, "other.restoring is there");
    fs::remove_dir(&left).unwrap();
    done(restore(&file, &data).await);
    assert!(!left.exists() && names(&data).contains(&"log".to_owned()));
    assert_eq!(cartgate(&["restore", file.to_str().unwrap()]).await.status, 2, "say where");
}
