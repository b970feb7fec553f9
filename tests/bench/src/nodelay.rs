//! TCP_NODELAY on the connections of a function that cannot be told to set it.
//!
//! lambda_runtime has no setting for its connection to the Runtime API. For the comparison "what if it had", the option
//! is set from outside, on the function's sockets, through duplicates of them (`pidfd_getfd(2)`).

use keyturn_tests::process::Process;

/// Sets it on every TCP connection that `process` has open; `false` when the system does not let us.
#[cfg(target_os = "linux")]
#[must_use]
pub fn set(process: &Process) -> bool {
    use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

    let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
    let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return false };
    let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", process.pid())) else { return false };
    let numbers = files.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok());
    let duplicates = numbers.filter_map(|number| pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()).ok());
    // Files that are no TCP sockets refuse.
    let set = duplicates.filter(|file| socket2::SockRef::from(file).set_tcp_nodelay(true).is_ok());
    set.count() > 0
}

/// There is no such call.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn set(_: &Process) -> bool {
    false
}
