quiz_summary_groups = []
_quiz = ['history', 'biology']
_quiz = ['quiz_' + s for s in _quiz]
quiz_summary_groups.append({'name': 'quiz', 'subsets': _quiz})
_weights = {'quiz_history': 2, 'quiz_biology': 1}
quiz_summary_groups.append({'name': 'quiz-weighted', 'subsets': _quiz, 'weights': _weights})
