from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("flights", "0001_initial")]

    operations = [
        migrations.AddField("flight", "passengers", models.PositiveIntegerField(default=0)),
    ]
