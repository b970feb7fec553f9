//! What a million requests cost on AWS, computed from what was measured.
//!
//! List prices of us-east-1 without free tiers and volume discounts, as published at
//! <https://aws.amazon.com/lambda/pricing/>, <https://aws.amazon.com/dynamodb/pricing/on-demand/>,
//! <https://aws.amazon.com/api-gateway/pricing/> and <https://aws.amazon.com/cloudwatch/pricing/> and as quoted
//! elsewhere between July 2025 and May 2026. Traffic out of AWS is not in them.

/// The memory at which a function has one whole vCPU; below that its share is proportional ("Configure Lambda function
/// memory", AWS Lambda Developer Guide).
pub const WHOLE_VCPU_MB: f64 = 1769.0;

/// US dollars for a million invocations.
pub const INVOCATIONS: f64 = 0.20;
/// US dollars for a million requests to a REST API.
pub const REST_API: f64 = 3.50;
/// US dollars for a million requests to an HTTP API.
pub const HTTP_API: f64 = 1.00;
/// US dollars for a million requests to a function URL.
pub const FUNCTION_URL: f64 = 0.0;
/// US dollars for a million writes, on demand, of an item of up to 1 KB (since the cut of November 2024).
pub const WRITES: f64 = 0.625;
/// US dollars for a million consistent reads, on demand, of an item of up to 4 KB.
pub const READS: f64 = 0.125;
/// US dollars for a gigabyte of log lines that CloudWatch takes in.
pub const LOG_GB: f64 = 0.50;

/// The processor of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// Graviton.
    Arm64,
    /// Intel or AMD.
    X86,
}

impl Processor {
    /// US dollars for a gigabyte of memory during a second.
    #[must_use]
    pub fn gb_second(self) -> f64 {
        match self {
            Self::Arm64 => 0.000_013_333_4,
            Self::X86 => 0.000_016_666_7,
        }
    }
}

/// What one phase took on the machine of the benchmark, where it had a core of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Milliseconds from its start to its end.
    pub wall: f64,
    /// Milliseconds of CPU in it.
    pub cpu: f64,
}

impl Phase {
    /// The milliseconds that Lambda bills with this much memory, when an upstream lets the function wait `upstream`
    /// milliseconds longer than the benchmark's:
    ///
    /// `⌈cpu ÷ min(1, memory ÷ 1,769 MB) + (wall − cpu) + upstream⌉`
    ///
    /// The CPU part grows as the function's share of a vCPU shrinks; what it waits for does not. A millisecond of CPU
    /// is taken for one of Lambda's, whose processors differ.
    #[must_use]
    pub fn billed(self, memory_mb: f64, upstream: f64) -> f64 {
        let share = (memory_mb / WHOLE_VCPU_MB).min(1.0);
        let waiting = (self.wall - self.cpu).max(0.0);
        (self.cpu / share + waiting + upstream).ceil()
    }

    /// US dollars for a million of it: the duration alone.
    #[must_use]
    pub fn million(self, processor: Processor, memory_mb: f64, upstream: f64) -> f64 {
        gb_seconds(self.billed(memory_mb, upstream), memory_mb) * processor.gb_second() * 1e6
    }
}

/// Lambda counts 1,024 MB as a gigabyte.
fn gb_seconds(milliseconds: f64, memory_mb: f64) -> f64 {
    milliseconds / 1e3 * memory_mb / 1024.0
}

/// US dollars for a million times this many calls of DynamoDB.
#[must_use]
pub fn dynamo(writes: f64, reads: f64) -> f64 {
    writes * WRITES + reads * READS
}

/// US dollars for a million times this many bytes of log lines.
#[must_use]
pub fn logs(bytes: f64) -> f64 {
    bytes * 1e6 / 1e9 * LOG_GB
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn less_memory_stretches_the_cpu_part_alone() {
        let phase = Phase { wall: 3.0, cpu: 1.0 };
        assert!(close(phase.billed(1769.0, 0.0), 3.0));
        assert!(close(phase.billed(3008.0, 0.0), 3.0), "one thread has no use for a second vCPU");
        // A quarter of a vCPU: 4 ms of CPU and the same 2 ms of waiting.
        assert!(close(phase.billed(442.25, 0.0), 6.0));
        assert!(close(phase.billed(442.25, 1000.0), 1006.0));
    }

    #[test]
    fn the_bill_is_rounded_up_to_the_millisecond() {
        assert!(close(Phase { wall: 0.2, cpu: 0.1 }.billed(1769.0, 0.0), 1.0));
        assert!(close(Phase { wall: 2.1, cpu: 0.1 }.billed(1769.0, 0.0), 3.0));
        // More CPU than time is a second thread's: nothing is waited for.
        assert!(close(Phase { wall: 1.0, cpu: 2.0 }.billed(1769.0, 0.0), 2.0));
    }

    #[test]
    fn a_million_requests() {
        let second = Phase { wall: 1000.0, cpu: 0.0 };
        assert!(close(second.million(Processor::Arm64, 1024.0, 0.0), 13.3334));
        assert!(close(second.million(Processor::X86, 512.0, 0.0), 8.333_35));
        assert!(close(dynamo(2.0, 0.0), 1.25));
        assert!(close(dynamo(0.0, 2.0), 0.25));
        assert!(close(logs(600.0), 0.3));
    }
}
