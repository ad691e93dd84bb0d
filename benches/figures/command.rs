//! Commands over MQTT: metrics 8 and 11.

use std::time::{Duration, Instant};

use super::mqtt::Client;
use super::report::{Figure, median, quantile};
use super::rig::{ROOT, Rig, Service, adapters_for};

const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than an acknowledgement of the transport is held back. Closer requests wait for it: Mosquitto leaves
/// Nagle's algorithm on, and keeps the next request back until the service's system has acknowledged the last PUBACK.
const APART: Duration = Duration::from_millis(60);

/// Asks and waits for the answer, in milliseconds.
fn ask(client: &mut Client, verb: &str, body: &str) -> f64 {
    let answer_topic = format!("{ROOT}/bridge/response/{verb}");
    let begin = Instant::now();
    client.publish(&format!("{ROOT}/bridge/request/{verb}"), body.as_bytes());
    let answer = client.wait(PATIENCE, |topic, payload| {
        (topic == answer_topic).then(|| (begin.elapsed(), String::from_utf8_lossy(payload).into_owned()))
    });
    let (took, answer) = answer.expect("an answer");
    assert!(answer.contains("\"status\":\"ok\""), "{verb}: {answer}");
    took.as_secs_f64() * 1e3
}

fn ready(rig: &Rig, bonds: usize, name: &str) -> (Service, Client) {
    let folder = rig.copy_of(&rig.template(bonds), name);
    let service = rig.start(&folder, adapters_for(bonds), |_| {});
    service.wait_ready();
    let mut client = Client::connect(rig.broker.port, name);
    client.subscribe(&format!("{ROOT}/bridge/response/#"));
    // Until the first lists are out.
    std::thread::sleep(Duration::from_secs(3));
    client.drain(Duration::from_millis(50));
    (service, client)
}

/// Metric 11, beside two messages of a bare client (there and back is two of them).
pub fn round_trip(rig: &Rig) -> Vec<Figure> {
    let (_service, mut client) = ready(rig, 100, "round-trip");
    client.subscribe("floor");
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        ours.push(ask(&mut client, "health_check", "{}"));
        let begin = Instant::now();
        for _ in 0..2 {
            client.publish("floor", b"x");
            client.wait(PATIENCE, |topic, _| (topic == "floor").then_some(())).expect("the floor's message");
        }
        floors.push(begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(APART);
    }
    let figure = |name: &str, part: f64| {
        Figure::new(11, format!("health_check, {name}"), quantile(&ours, part), "ms")
            .beside("two messages of a bare client", quantile(&floors, part))
    };
    vec![figure("p50", 0.5), figure("p99", 0.99).at_most(1.0)]
}

/// Metrics 8 and 13. The floor: the octets of the export written and synced in one go.
pub fn export(rig: &Rig) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bonds in [10, 100, 1_000, 10_000] {
        let (service, mut client) = ready(rig, bonds, "export");
        let (mut times, mut peaks, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..7 {
            std::thread::sleep(APART);
            let idle = service.rss_kib();
            // Sets the high-water mark back to what is resident now.
            std::fs::write(format!("/proc/{}/clear_refs", service.pid()), "5").expect("reset the peak");
            times.push(ask(&mut client, "bonds/export", "{}"));
            let peak = service.proc_number("status", "VmHWM");
            peaks.push(peak.saturating_sub(idle) as f64 / 1024.0);
            floors.push(rewrite(&service));
        }
        let metric = if bonds == 10_000 { 8 } else { 13 };
        let time = Figure::new(metric, format!("export of {bonds} bonds"), median(&times), "ms")
            .beside("its octets written and synced", median(&floors))
            .of(bonds);
        let memory =
            Figure::new(metric, format!("memory for the first export of {bonds} bonds"), peaks[0], "MiB")
                .of(bonds);
        let again =
            Figure::new(metric, format!("memory for another export of {bonds} bonds"), median(&peaks), "MiB");
        if bonds == 10_000 {
            figures.extend([time.at_most(40.0), memory.at_most(4.0), again]);
        } else {
            figures.extend([time, memory]);
        }
    }
    figures
}

/// Writes the octets of an export once more, in milliseconds.
fn rewrite(service: &Service) -> f64 {
    use std::io::Write;
    let exports = service.folder.join("exports");
    let newest = std::fs::read_dir(&exports).expect("the export folder").flatten().next().expect("an export");
    let octets = std::fs::read(newest.path()).expect("read the export");
    let target = service.folder.join("floor");
    let begin = Instant::now();
    let mut file = std::fs::File::create(&target).expect("make a file");
    file.write_all(&octets).expect("write");
    file.sync_all().expect("sync");
    let took = begin.elapsed().as_secs_f64() * 1e3;
    let _ = std::fs::remove_file(newest.path());
    let _ = std::fs::remove_file(target);
    took
}
