from typing import Dict, List

from benchsuite.models import Base

sizes: List[int] = [1, 2]
table: Dict[str, dict] = {'a': dict(type=Base)}
declared_only: int
matched = None
match sizes:
    case [1, second]:
        matched = second
    case _:
        matched = 'other'
