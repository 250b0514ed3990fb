//! Random inputs against a leader of three: what must hold after every one of them.

use super::*;

/// Numbers that a seed repeats exactly.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// The controller's view, and what each follower truly has on disk.
struct World {
    isr: Vec<BrokerId>,
    partition_epoch: i32,
    durable: [i64; 4],
    written: i64,
}

#[test]
fn no_member_of_any_set_that_may_be_elected_from_lacks_a_record_below_the_high_watermark() {
    for seed in 0..300 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Seeded(seed);
    let mut world = World { isr: vec![B1, B2, B3], partition_epoch: 0, durable: [0; 4], written: 0 };
    let mut replica = leader(&[B1, B2, B3]);
    let mut asked: Option<AlterPartition> = None;
    let (mut now, mut seen) = (0, Offset(0));
    for step in 0..300 {
        now += random.below(LAG_MS / 3);
        let output = match random.below(6) {
            0 => {
                world.written += random.below(5);
                None
            }
            1 => {
                world.durable[1] += random.below(world.written - world.durable[1] + 1);
                None
            }
            2 | 3 => {
                let id = 2 + random.below(2);
                let durable = &mut world.durable[usize::try_from(id).unwrap()];
                *durable += random.below(world.written - *durable + 1);
                let follower = BrokerId(i32::try_from(id).unwrap());
                Some(
                    replica
                        .handle_follower_fetch(follower, &fetch(world.written, *durable), at(now))
                        .unwrap(),
                )
            }
            4 => Some(replica.poll_isr(at(now))),
            _ => asked.take().map(|alter| answer(&mut random, &mut world, &mut replica, &alter, now)),
        };
        replica.handle_log_ends(ends(0, world.durable[1], world.written), at(now));
        if let Some(alter) = output.and_then(|output| output.alter_partition) {
            asked = Some(alter);
        }
        let high_watermark = replica.high_watermark();
        assert!(high_watermark >= seen, "seed {seed} step {step}: high watermark went back");
        seen = high_watermark;
        for member in &world.isr {
            let durable = world.durable[usize::try_from(member.0).unwrap()];
            assert!(
                Offset(durable) >= high_watermark,
                "seed {seed} step {step}: {member} has {durable}, acknowledged is {high_watermark}"
            );
        }
    }
}

/// The controller commits, refuses, or commits and its answer is lost.
fn answer(
    random: &mut Seeded,
    world: &mut World,
    replica: &mut Replica,
    alter: &AlterPartition,
    now: i64,
) -> LeaderOutput {
    let fresh = alter.partition_epoch.0 == world.partition_epoch;
    let commits = fresh && random.below(4) > 0;
    if commits {
        world.isr = alter.new_isr.iter().map(|member| member.broker_id).collect();
        world.partition_epoch += 1;
    }
    let lost = random.below(4) == 0;
    let outcome = match (commits, lost) {
        (true, false) => committed(&world.isr, world.partition_epoch),
        (_, true) => AlterPartitionOutcome::Unknown,
        (false, false) if fresh => AlterPartitionOutcome::Refused,
        (false, false) => AlterPartitionOutcome::Unknown,
    };
    let output = replica.handle_alter_partition_result(alter.leader_epoch, outcome, at(now));
    if random.below(2) == 0 {
        let told = registration(Some(B1), &world.isr.clone(), 0, world.partition_epoch);
        replica.handle_registration(&told, at(now));
    }
    output
}
