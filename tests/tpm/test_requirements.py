"""What version 185 requires of key encapsulation and message signing, and the test of each.

Each row: a clause, what it requires in the words of this project, and the tests that would fail.
Clauses 24.5.3 and 44 to 47 of Part 1 (45 is of algorithms that no profile has), structures of
Part 2 and the commands of Part 3. A requirement that is added to the specification belongs here.
"""

from importlib import import_module

import pytest

COMMANDS, CRYPTO = "tests.tpm.commands.", "tests.tpm.crypto."
OBJECTS, SEEDS = COMMANDS + "test_seeded_objects.", COMMANDS + "test_mlkem_seeds."
SEQUENCES, DIGESTS = COMMANDS + "test_signature_sequences.", COMMANDS + "test_digest_signing."
KEM, EDDSA = COMMANDS + "test_encapsulation.", COMMANDS + "test_eddsa."
EXCHANGE, LARGE = COMMANDS + "test_montgomery.", COMMANDS + "test_large_keys."
ATTESTATION = COMMANDS + "test_mldsa_attestation."

REQUIREMENTS: list[tuple[str, str, str]] = [
    ("1: 24.5.3.5", "ECC: unique is the public point", EDDSA + "test_primary_and_ordinary_objects"),
    (
        "1: 24.5.3.6",
        "ML-DSA: unique is the public key",
        OBJECTS + "test_primary_objects_are_made_again",
    ),
    ("1: 24.5.3.7", "ML-KEM: the same", OBJECTS + "test_keys_are_exported_as_their_seeds"),
    (
        "1: 29.4.5.1",
        "a message comes in pieces",
        SEQUENCES + "test_others_accept_what_was_signed_in_pieces",
    ),
    ("1: 29.4.5.1", "but for EdDSA", EDDSA + "test_a_message_in_pieces_is_refused"),
    ("1: 29.4.5.2", "verification takes pieces", EDDSA + "test_long_messages_that_others_signed"),
    (
        "1: 29.4.6",
        "contexts of sequences",
        SEQUENCES + "test_sequences_survive_saving_and_migration",
    ),
    (
        "1: 44.1",
        "public and private part are a pair",
        EDDSA + "test_areas_that_do_not_belong_together",
    ),
    ("1: 44.3.2.1", "EdDSA signs no digests", EDDSA + "test_eddsa_signs_no_digests"),
    ("1: 44.3.2.1", "HashEdDSA signs both", EDDSA + "test_a_signed_digest_is_a_signed_message"),
    (
        "1: 44.3.2.1",
        "the hash is that of RFC 8032",
        CRYPTO + "test_eddsa.test_vectors_of_the_hashed_variants",
    ),
    ("1: 44.3.2.1", "a key is for one of both", EDDSA + "test_a_key_is_for_one_of_the_two"),
    (
        "1: 44.3.2.1",
        "a signing key has a scheme",
        EDDSA + "test_keys_have_to_say_what_they_are_for",
    ),
    ("1: 44.3.2.2", "signatures are as in RFC 8032", CRYPTO + "test_eddsa.test_vectors"),
    ("1: 44.4.1", "only with a KDF", KEM + "test_keys_that_are_for_no_kem"),
    ("1: 44.4.2", "Encaps of RFC 9180", KEM + "test_dhkem_is_that_of_the_rfc"),
    ("1: 44.4.2", "points of X25519 and X448 in it", EXCHANGE + "test_dhkem_is_that_of_the_rfc"),
    ("1: 44.4.3", "Decaps of RFC 9180", CRYPTO + "test_dhkem.test_x25519_is_that_of_the_rfc"),
    ("1: 44.5.1", "y is empty on these curves", EDDSA + "test_primary_and_ordinary_objects"),
    ("1: 44.5.1", "KDFe takes the same octets", EXCHANGE + "test_credentials"),
    ("1: 44.5.1", "another form is TPM_RC_ECC_POINT", EXCHANGE + "test_points_in_another_form"),
    ("1: 44.5.2", "private keys are the RFCs' octets", EDDSA + "test_derived_objects"),
    ("1: 44.5.3", "points leave at full length", EXCHANGE + "test_a_secret_is_shared"),
    (
        "1: 44.5.3",
        "with zeros in front",
        "tests.tpm.test_negative_tables.test_shared_secrets_keep_their_leading_zeros",
    ),
    ("1: 44.5.3", "and come in at full length", EXCHANGE + "test_points_in_another_form"),
    ("1: 44.5.4", "how all of it is encoded", EXCHANGE + "test_the_parameters_of_the_curve"),
    ("1: 44.7", "labelled KEM: salts", EXCHANGE + "test_salted_sessions"),
    ("1: 44.7", "labelled KEM: duplicates", EXCHANGE + "test_import_and_load_below_such_a_parent"),
    ("1: 44.8", "exchanges", EXCHANGE + "test_a_secret_is_shared"),
    ("1: 46.2", "a private ML-DSA key is its seed", OBJECTS + "test_seeds_of_another_size"),
    ("1: 46.2", "drawn as clause 24.6 says", OBJECTS + "test_derived_objects"),
    ("1: 46.2", "the public key is FIPS 204's", CRYPTO + "test_acvp.test_mldsa_keys"),
    ("1: 46.3", "sequences", SEQUENCES + "test_the_tpm_verifies_messages"),
    ("1: 46.3", "digests are mu if the key permits it", DIGESTS + "test_external_mu"),
    ("1: 46.3", "digests of HashML-DSA", DIGESTS + "test_the_context_of_a_hashed_message"),
    (
        "1: 47.2",
        "a private ML-KEM key is its seed",
        OBJECTS + "test_areas_that_do_not_belong_together",
    ),
    ("1: 47.2", "the public key is FIPS 203's", CRYPTO + "test_acvp.test_mlkem_keys"),
    ("1: 47.3", "encapsulation", KEM + "test_mlkem_encapsulates_for_others"),
    ("1: 47.4", "labelled KEM: salts", SEEDS + "test_salted_sessions"),
    ("1: 47.4", "labelled KEM: credentials", SEEDS + "test_credentials_made_outside"),
    ("1: 47.4", "labelled KEM: duplicates", SEEDS + "test_duplicate_to_an_mlkem_key"),
    ("2: 8.13", "TPMA_ML_PARAMETER_SET", OBJECTS + "test_what_is_reported"),
    (
        "2: 8.13",
        "follows what there is",
        LARGE + "test_the_parameter_set_comes_and_goes_with_the_buffer",
    ),
    (
        "2: 11.2.5.5",
        "other curves are TPM_RC_CURVE",
        EDDSA + "test_the_default_profile_has_none_of_it",
    ),
    (
        "2: 11.2.6.1",
        "other sets are TPM_RC_PARMS",
        OBJECTS + "test_parameter_sets_that_are_not_there",
    ),
    ("2: 11.2.7.1", "the same of ML-DSA", OBJECTS + "test_parameter_sets_that_are_not_there"),
    ("2: 11.3.3", "TPM2B_SIGNATURE_EDDSA", EDDSA + "test_signatures_of_messages"),
    ("2: 11.3.7", "context: none for most schemes", SEQUENCES + "test_schemes_without_a_context"),
    ("2: 11.3.7", "context: none for EdDSA", EDDSA + "test_there_is_no_context"),
    ("2: 11.3.8", "context: 255 octets", SEQUENCES + "test_a_context_longer_than_255_octets"),
    ("2: 11.3.9", "hint: R of EdDSA", EDDSA + "test_long_messages_that_others_signed"),
    ("2: 11.3.9", "hint: none for others", SEQUENCES + "test_hints_are_for_eddsa_only"),
    ("2: 12.2.3.5", "schemes that fit the curve", EDDSA + "test_eddsa_is_for_its_curves"),
    (
        "2: 12.2.3.5",
        "no scheme is for storage only",
        EDDSA + "test_keys_have_to_say_what_they_are_for",
    ),
    ("2: 12.2.3.5", "a KDF is for ECDH only", KEM + "test_which_kdfs_a_key_may_have"),
    ("2: 12.2.3.5", "a KDF that is there", EXCHANGE + "test_which_kdfs_a_key_may_have"),
    (
        "2: 12.2.3.5",
        "the hash of ECDH does not matter",
        KEM + "test_the_scheme_of_an_ecc_key_does_not_matter",
    ),
    ("2: 12.2.3.6", "allowExternalMu", DIGESTS + "test_keys_that_do_not_permit_external_mu"),
    (
        "2: 12.2.3.7",
        "the hash of HashML-DSA",
        OBJECTS + "test_other_parameters_that_do_not_unmarshal",
    ),
    (
        "2: 12.2.3.8",
        "symmetric for parents only",
        OBJECTS + "test_the_symmetric_algorithm_of_a_kem",
    ),
    ("2: 12.2.3.9", "one use each", OBJECTS + "test_attributes_that_do_not_fit"),
    ("3: 14.10", "a KEM key", KEM + "test_keys_that_are_for_no_kem"),
    ("3: 14.10", "attributes do not matter", KEM + "test_only_decapsulation_looks_at_attributes"),
    ("3: 14.11", "unrestricted, decrypt", KEM + "test_only_decapsulation_looks_at_attributes"),
    ("3: 14.11", "a ciphertext's size", KEM + "test_ciphertexts_of_another_size"),
    (
        "3: 14.11",
        "with authorization",
        "tests.tpm.test_roles.test_handles_and_roles_are_those_of_part_3",
    ),
    ("3: 17.5", "a signing key", SEQUENCES + "test_keys_that_do_not_sign"),
    ("3: 17.5", "with a scheme", SEQUENCES + "test_keys_without_a_scheme"),
    (
        "3: 17.5",
        "a counter",
        SEQUENCES + "test_anonymous_signatures_take_a_counter_and_are_not_verified",
    ),
    (
        "3: 17.5",
        "without authorization",
        SEQUENCES + "test_starting_needs_no_authorization_and_completing_does",
    ),
    ("3: 17.6", "a hint", EDDSA + "test_long_messages_that_others_signed"),
    ("3: 17.6", "a signing key", SEQUENCES + "test_keys_that_do_not_sign"),
    ("3: 17.6", "with a scheme", SEQUENCES + "test_keys_without_a_scheme"),
    ("3: 17.6", "no hint for others", SEQUENCES + "test_hints_are_for_eddsa_only"),
    (
        "3: 17.7",
        "a sequence's authorization",
        SEQUENCES + "test_sequences_have_an_auth_value_of_their_own",
    ),
    ("3: 20.3", "the key of the start", SEQUENCES + "test_the_key_has_to_be_the_one_of_the_start"),
    (
        "3: 20.3",
        "else TPM_RC_SIGNATURE",
        SEQUENCES + "test_a_completed_sequence_is_gone_and_a_failed_one_is_not",
    ),
    ("3: 20.3", "tickets", DIGESTS + "test_policies_take_the_tickets"),
    ("3: 20.3", "no ticket of no hierarchy", DIGESTS + "test_tickets_of_no_hierarchy_are_null"),
    ("3: 20.3", "the public part suffices", EDDSA + "test_long_messages_that_others_signed"),
    (
        "3: 20.3",
        "but for HMAC",
        SEQUENCES + "test_an_hmac_key_of_which_only_the_public_area_is_loaded",
    ),
    ("3: 20.4", "schemes that sign digests", DIGESTS + "test_keys_that_sign_no_digests"),
    ("3: 20.4", "the digest's size", DIGESTS + "test_digests_of_another_size"),
    ("3: 20.4", "the key's own scheme and hash", DIGESTS + "test_signatures_by_another_scheme"),
    ("3: 20.6", "not for certificates", SEQUENCES + "test_keys_for_certificates_sign_no_messages"),
    (
        "3: 20.6",
        "restricted keys",
        SEQUENCES + "test_restricted_keys_sign_nothing_that_the_tpm_could_have_made",
    ),
    (
        "3: 20.6",
        "no restricted HMAC keys",
        SEQUENCES + "test_restricted_hmac_keys_sign_no_messages",
    ),
    ("3: 20.6", "one piece", EDDSA + "test_a_message_in_pieces_is_refused"),
    ("3: 20.6", "the key of the start", SEQUENCES + "test_keys_without_names_are_told_apart"),
    (
        "3: 20.7",
        "restricted keys need a ticket",
        DIGESTS + "test_restricted_keys_sign_what_the_tpm_has_hashed",
    ),
    ("3: 20.7", "schemes that sign digests", DIGESTS + "test_keys_that_sign_no_digests"),
    ("3: 20.7", "the digest's size", DIGESTS + "test_digests_of_another_size"),
    ("3: 20.7", "not for certificates", DIGESTS + "test_keys_for_certificates_sign_no_digests"),
    ("3: 20.7", "and sign no mu", DIGESTS + "test_restricted_mldsa_keys_sign_no_mu"),
    ("3: 20.7", "a ticket is checked", DIGESTS + "test_a_ticket_that_is_given_is_checked"),
    (
        "3: table 115",
        "what each kind of key is for",
        COMMANDS + "test_every_key.test_every_kind_of_key",
    ),
    (
        "errata 2.4",
        "too many rejections",
        CRYPTO + "test_mldsa.test_a_signature_that_does_not_come_about",
    ),
    (
        "errata 2.6",
        "pcrDigest by nameAlg",
        ATTESTATION + "test_the_digest_of_a_quote_without_a_scheme_hash",
    ),
    (
        "errata 2.7",
        "nvDigest by nameAlg",
        ATTESTATION + "test_the_digest_of_an_index_without_a_scheme_hash",
    ),
    ("errata 2.8", "what does not fit", ATTESTATION + "test_what_does_not_fit_changes_nothing"),
]


@pytest.mark.parametrize("test", sorted({test for _, _, test in REQUIREMENTS}))
def test_the_test_is_there(test: str) -> None:
    module, _, name = test.rpartition(".")
    assert callable(getattr(import_module(module), name))
