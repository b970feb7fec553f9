//! Regions, and where services are in them.

use keyturn_identity::IdentityError;

use crate::rig::{aws, of_stores};

#[test]
fn a_service_is_where_its_region_s_partition_has_it() {
    for (region, host) in [
        ("eu-west-1", "kms.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "kms.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "kms.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "kms.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", "kms.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", "kms.us-isof-south-1.csp.hci.ic.gov"),
    ] {
        let service = aws(&[("AWS_REGION", region)]).service("kms", "KMS").unwrap();
        assert_eq!(service.base().as_str(), format!("https://{host}/"));
    }
}

#[test]
fn another_endpoint_wins_the_service_s_own_first() {
    let all = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", "http://localhost:1"),
        ("AWS_ENDPOINT_URL_KMS", "http://localhost:2/kms"),
    ];
    let aws = aws(&all);
    assert_eq!(aws.service("kms", "KMS").unwrap().base().as_str(), "http://localhost:2/kms");
    assert_eq!(aws.service("sts", "STS").unwrap().base().as_str(), "http://localhost:1/");
}

#[test]
fn what_is_no_region_or_address_is_a_setting_that_is_wrong() {
    for (variables, said) in [
        (&[][..], "AWS_REGION is not set"),
        (&[("AWS_REGION", "eu-west-1.evil.example/")], "AWS_REGION is not the name of a region"),
        (&[("AWS_REGION", "a@b")], "AWS_REGION is not the name of a region"),
        (&[("AWS_ENDPOINT_URL_KMS", "localhost")], "AWS_ENDPOINT_URL_KMS is not the address of a service"),
        (
            &[("AWS_ENDPOINT_URL_KMS", "http://user:canary@localhost")],
            "AWS_ENDPOINT_URL_KMS is not the address of a service",
        ),
    ] {
        let Err(error) = aws(variables).service("kms", "KMS") else { panic!("{said}") };
        assert!(matches!(error, IdentityError::Setting { .. }));
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn stores_have_a_region_of_their_own_before_the_environment_s() {
    let all = [
        ("KEYTURN_AWS_REGION_NAME", "a"),
        ("AWS_REGION_NAME", "b"),
        ("AWS_REGION", "c"),
        ("AWS_DEFAULT_REGION", "d"),
    ];
    for (from, expected) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert_eq!(of_stores(&all[from..]).region(), Some(expected));
    }
    assert_eq!(of_stores(&[]).region(), None);
    assert_eq!(aws(&all).region(), Some("c"));
    let role = ("KEYTURN_AWS_ROLE_NAME", "arn:aws:iam::1:role/r");
    assert_eq!(of_stores(&[&all[..], &[role]].concat()).region(), Some("a"));
}
