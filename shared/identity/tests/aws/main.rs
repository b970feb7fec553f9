//! Who we are to AWS: the environment's identities, roles, and the calls of STS and of a container's agent.
#![cfg(test)]

mod container;
mod endpoints;
mod faults;
mod real;
mod rig;
mod roles;
mod sdk;
mod signatures;
mod tokens;
