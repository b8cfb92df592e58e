# комментарий 注释 تعليق
имя = 'значение'
заметка = dict(ключ='値', emoji='🚀🔥', rtl='שלום', combining='é', zero_width='a\u200bb')
names = ['ñ', 'Straße', '\N{GREEK SMALL LETTER ALPHA}', '\U0001F600']
ﬁ = 'normalised by Python to fi'
