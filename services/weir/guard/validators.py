"""What may deny a rule's find: check digits, calendars, ranges, entropy. `Rule.validator` names one of `VALIDATORS`.

Each takes the text of a find in the plain view, is pure, takes time linear in the text, and ignores the separators
that people write between digits.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from weir.guard import cn_numbers, eu_numbers, secret_values, us_numbers, world_numbers
from weir.guard.checksums import bare_digits, from_first_digit, is_luhn, is_one_digit_repeated
from weir.guard.hosts import Hosts

Validator = Callable[[str], bool]


def _is_luhn(text: str) -> bool:
    digits = bare_digits(text)
    return len(digits) > 1 and not is_one_digit_repeated(digits) and is_luhn(digits)


VALIDATORS: Mapping[str, Validator] = MappingProxyType(
    {
        "luhn": _is_luhn,
        "card": world_numbers.is_card,
        "iban": world_numbers.is_iban,
        "ipv4": world_numbers.is_public_ipv4,
        "ip-named": world_numbers.is_named_ipv4,
        "mac": world_numbers.is_mac,
        "email": world_numbers.is_email,
        "phone-e164": world_numbers.is_international_phone,
        "ipv6": world_numbers.is_ipv6,
        "imei": world_numbers.is_imei,
        "imei-named": lambda text: world_numbers.is_imei(bare_digits(text)[-15:]),
        "vin": world_numbers.is_vin,
        "base58-wallet": world_numbers.is_base58_wallet,
        "bech32-wallet": world_numbers.is_bech32_wallet,
        "coordinate": world_numbers.is_coordinate,
        "gb11643": cn_numbers.is_resident_id,
        "gb11643-15": cn_numbers.is_old_resident_id,
        "gb32100": cn_numbers.is_credit_code,
        "cn-bank": cn_numbers.is_bank_card,
        "cn-mobile": cn_numbers.is_mobile,
        "cn-plate": cn_numbers.is_plate,
        "hk-id": cn_numbers.is_hong_kong_id,
        "tw-id": cn_numbers.is_taiwan_id,
        "gb11643-spelled": cn_numbers.is_spelled_resident_id,
        "us-ssn": us_numbers.is_ssn,
        "us-itin": us_numbers.is_itin,
        "us-aba": us_numbers.is_routing_number,
        "us-npi": us_numbers.is_npi,
        "us-phone": us_numbers.is_phone,
        "uk-nhs": eu_numbers.is_nhs_number,
        "uk-nino": eu_numbers.is_nino,
        "de-steuer-id": eu_numbers.is_steuer_id,
        "fr-nir": eu_numbers.is_nir,
        "fr-nir-named": lambda text: eu_numbers.is_nir(from_first_digit(text)),
        "es-dni": eu_numbers.is_dni,
        "it-codice-fiscale": eu_numbers.is_codice_fiscale,
        "nl-bsn": eu_numbers.is_bsn,
        "pl-pesel": eu_numbers.is_pesel,
        "be-national": eu_numbers.is_belgian_number,
        "se-personnummer": eu_numbers.is_personnummer,
        "fi-hetu": eu_numbers.is_hetu,
        "ch-ahv": eu_numbers.is_ahv,
        "pt-nif": eu_numbers.is_nif,
        "ie-pps": eu_numbers.is_pps,
        "ie-pps-named": lambda text: eu_numbers.is_pps(from_first_digit(text)),
        "eu-vat": eu_numbers.is_vat_number,
        "random": secret_values.is_random,
        "secret": secret_values.is_secret_assignment,
        "url-password": secret_values.is_url_password,
        "password": secret_values.is_password_assignment,
        "foreign-host": Hosts(()).is_foreign,
    }
)


def validators_with(own_hosts: Collection[str]) -> Mapping[str, Validator]:
    """Return the validators where some hosts are one's own."""
    return (
        VALIDATORS if not own_hosts else MappingProxyType({**VALIDATORS, "foreign-host": Hosts(own_hosts).is_foreign})
    )
