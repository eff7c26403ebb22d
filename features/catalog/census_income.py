"""Census-Income (KDD), UCI 117: the two tasks of the MMoE paper (Ma et al., KDD 2018, section 6.3, first pair).

`income` (does the person earn more than 50,000 dollars) and `never_married` are learned together from the other 40
columns less `instance_weight`, which says how many people a row stands for and is no feature (the data set's own
documentation excludes it).

The paper trains on `census-income.data` and halves `census-income.test` into validation and test:
`pipeline/configs/census_income_halved.yaml` does so. Here every official file that is found is read, plain or gzip (keep one
of the two), and each row falls into train, validation or test by a hash of its file and number (80 : 10 : 10), so that
one file alone is enough; numbers are therefore close to the paper's, not the same. Like the paper, this entry excludes nothing else, although a few columns nearly say whether
someone is married (`tax_filer_stat`: "Joint ..."; `det_hh_fam_stat`: "Spouse of householder"): `never_married` is an
easy task by design.
"""

from __future__ import annotations

from features.spec import (
    Categorical,
    Column,
    Dataset,
    Expected,
    Feature,
    Numeric,
    RandomSplit,
    Source,
    Task,
    Vocabulary,
)

# As the official files have them; they have no header.
NUMBERS = (
    "age",
    "wage_per_hour",
    "capital_gains",
    "capital_losses",
    "stock_dividends",
    "num_emp",
    "weeks_worked",
)
CODES = ("det_ind_code", "det_occ_code", "own_or_self", "vet_benefits", "year")
"""Numbers that name a category."""
COLUMNS = (
    "age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college", "marital_stat",
    "major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member", "unemp_reason",
    "full_or_part_emp", "capital_gains", "capital_losses", "stock_dividends", "tax_filer_stat", "region_prev_res",
    "state_prev_res", "det_hh_fam_stat", "det_hh_summ", "instance_weight", "mig_chg_msa", "mig_chg_reg",
    "mig_move_reg", "mig_same", "mig_prev_sunbelt", "num_emp", "fam_under_18", "country_father", "country_mother",
    "country_self", "citizenship", "own_or_self", "vet_question", "vet_benefits", "weeks_worked", "year", "income_50k",
)  # fmt: skip
LABELS = ("income_50k", "marital_stat")
NOT_FEATURES = ("instance_weight", *LABELS)
ROWS = {"census-income.data": 199_523, "census-income.test": 99_762}
RATES = {"income": 6_186 / 99_762, "never_married": 43_143 / 99_762}
"""Counted in the test file, a third of all rows that was drawn at random: those of the others are near."""


def dataset() -> Dataset:
    """99,762 rows in the test file, 199,523 in the other; positive rates about .062 and .43."""
    return Dataset(
        name="census_income",
        description="Census-Income (KDD): income over 50k, and never married (the MMoE paper's first pair of tasks).",
        source=Source(
            files="census-income.[dt][ae][ts][at]*",
            header=False,
            strip_spaces=True,
            null_values=("", "?"),
        ),
        columns={name: _column(name) for name in COLUMNS},
        features={name: _feature(name) for name in COLUMNS if name not in NOT_FEATURES},
        tasks={
            "income": Task(label="income_50k", positive=("50000+.",)),
            "never_married": Task(label="marital_stat", positive=("Never married",)),
        },
        split=RandomSplit(),
        expected=(
            Expected(rows=ROWS, rates=RATES),
            *(Expected(rows={file: rows}, rates=RATES) for file, rows in ROWS.items()),
        ),
    )


def _column(name: str) -> Column:
    if name in NUMBERS or name in CODES:
        return Column(type="int64")
    if name == "instance_weight":
        return Column(type="float32")
    return Column(type="string", required=name in LABELS, outcome=name in LABELS)


def _feature(name: str) -> Feature:
    if name not in NUMBERS:
        return Categorical(vocabulary=Vocabulary(min_count=2))
    # Nearly all zero, the rest in the thousands.
    skewed = name in ("wage_per_hour", "capital_gains", "capital_losses", "stock_dividends")
    return Numeric(scaling="log_zscore" if skewed else "zscore")
