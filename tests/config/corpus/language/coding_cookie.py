# -*- coding: utf-8 -*-
a = "ü"
