//! What the benchmarks ask of a service that runs, and of the system about it.

use std::fs;

use super::request::sku_name;
use crate::{Envoy, Service, Shop, client};

/// Stock that no benchmark sells out.
const PLENTY: u64 = 1_000_000_000;

/// Puts a SKU up for sale.
///
/// # Panics
/// The service does not take it.
pub async fn fill(service: &Service, sku: u32) {
    fill_by(&Shop::at(service.address()), sku).await;
}

/// The same, by who may.
///
/// # Panics
/// There is no answer, or another.
pub async fn fill_by(shop: &Shop, sku: u32) {
    let answer = shop.set_stock(&sku_name(sku), PLENTY).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

/// The process id of a service that runs.
///
/// # Panics
/// It has ended.
pub fn pid(service: &Service) -> u32 {
    service.process.id().expect("the service runs")
}

/// Commands that wait in all lanes to reserve.
///
/// # Panics
/// The metrics cannot be read.
pub async fn lane_depth(service: &Service) -> u64 {
    let metrics = client::http().get(service.url("/metrics")).send().await;
    let metrics = metrics.expect("the metrics").text().await.expect("the metrics");
    depth(&metrics)
}

fn depth(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("cartgate_lane_depth{"));
    let reserve = lines.filter(|line| line.contains(r#"queue="reserve""#));
    reserve.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Envoy's process.
///
/// # Panics
/// It has ended.
pub fn envoy_pid(envoy: &Envoy) -> u32 {
    envoy.process.id().expect("Envoy runs")
}

/// Memory that a process has in RAM.
///
/// # Panics
/// It has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    bytes_of(pid, "VmRSS:")
}

/// The most memory that it ever had there.
///
/// # Panics
/// It has ended.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    bytes_of(pid, "VmHWM:")
}

fn bytes_of(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    bytes(&status.expect("the process runs"), field).expect("its size")
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_of_reserve_queues_add_up() {
        let metrics = "# TYPE cartgate_lane_depth gauge\n\
                       cartgate_lane_depth{bucket=\"0\",queue=\"reserve\"} 40\n\
                       cartgate_lane_depth{bucket=\"0\",queue=\"settle\"} 7\n\
                       cartgate_lane_depth{bucket=\"1\",queue=\"reserve\"} 2\n\
                       cartgate_lane_oldest_age_ms{bucket=\"0\",queue=\"reserve\"} 9\n";
        assert_eq!(depth(metrics), 42);
    }

    #[test]
    fn the_resident_size_is_in_bytes() {
        let status = "VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(2_097_152));
        assert_eq!(bytes(status, "VmHWM:"), None);
    }
}
