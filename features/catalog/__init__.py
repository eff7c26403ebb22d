"""The datasets that feedrank knows by name: one file each (a family shares one), the only place with its column names.

A log of your own needs no file here; its YAML says the same (see README).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from features.catalog import (
    ali_ccp,
    aliexpress,
    census_income,
    criteo_attribution,
    ijcai_15,
    kuairand,
    movielens,
    reviews,
    synthetic,
    tenrec,
    user_behavior,
)
from features.errors import ConfigError
from features.frozen import nearest
from features.spec import Dataset

DATASETS: Mapping[str, Callable[[], Dataset]] = {
    "ali_ccp": ali_ccp.dataset,
    "aliexpress": aliexpress.dataset,
    "amazon_reviews": reviews.amazon,
    "census_income": census_income.dataset,
    "criteo_attribution": criteo_attribution.dataset,
    "ijcai_15": ijcai_15.dataset,
    "kuairand": kuairand.dataset,
    "kuairand_1k": kuairand.thousand_users,
    "kuairand_27k": kuairand.all_users,
    "movielens_100k": movielens.hundred_thousand,
    "movielens_1m": movielens.million,
    "synthetic": synthetic.dataset,
    "tenrec_article": tenrec.article,
    "tenrec_ctr": tenrec.ctr,
    "tenrec_qb_article": tenrec.qb_article,
    "tenrec_video": tenrec.video,
    "user_behavior": user_behavior.dataset,
    "yelp_reviews": reviews.yelp,
}


def names() -> tuple[str, ...]:
    """The names that `load` knows, sorted."""
    return tuple(sorted(DATASETS))


def load(name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        ConfigError: if there is none; names the known ones and the nearest.
    """
    if name not in DATASETS:
        near = nearest(name, names())
        hint = f"; did you mean '{near}'?" if near else ""
        raise ConfigError(f"no dataset is called '{name}'; known: {', '.join(names())}{hint}")
    return DATASETS[name]()
