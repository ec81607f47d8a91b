"""The certificate: every public function's values and derivatives, checked on the machine that runs it.

python -m tensorgrad.verify
"""
